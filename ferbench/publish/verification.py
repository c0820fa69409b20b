"""What verifying rows found, in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from ferbench.publish.layout import PLAIN, Paint, wrapped
from ferbench.quantities import counted, ranges

_INDENT = "    "

#: A reason that is longer stands in the long form alone.
_FEW_WORDS = 100


class Check(Protocol):
    """One thing that was looked at; see verification.Check."""

    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def ok(self) -> bool | None: ...
    @property
    def detail(self) -> str: ...


class VerifiedRow(Protocol):
    """All checks of a row; see verification.VerifiedRow."""

    @property
    def row(self) -> str: ...
    @property
    def seeds(self) -> tuple[int, ...]: ...
    @property
    def checks(self) -> Sequence[Check]: ...
    @property
    def ok(self) -> bool: ...


def row_lines(found: VerifiedRow, *, every: bool = False, width: int = 80, paint: Paint = PLAIN) -> list[str]:
    """A row's verdict, then each mismatch, equal ones of several seeds together.

    every : show what agrees, too
    """
    agreeing = [check for check in found.checks if check.ok]
    wrong = [check for check in found.checks if check.ok is False]
    unknown = [check for check in found.checks if check.ok is None]
    verdict = f"{found.row}  {counted(len(wrong), 'mismatch', 'mismatches') if wrong else 'ok'}: "
    facts = f"{counted(len(found.seeds), 'seed')}, {counted(len(agreeing), 'check')}{' ok' if wrong else ''}"
    if unknown:
        facts += f", {len(unknown)} not checked"
        if not (wrong or every):
            facts += f" ({_shortly(unknown)})"
    style = paint.bad if wrong else paint.good
    lines = [style(line) for line in wrapped(verdict + facts, width, hanging=_INDENT)]
    for check, seeds in _grouped(wrong):
        text = f"{check.name}, {_named(seeds)}: {check.detail}"
        lines += [paint.bad(line) for line in wrapped(text, width, _INDENT, 2 * _INDENT)]
    if wrong or every:
        for check, seeds in _grouped(unknown):
            text = f"not checked: {check.name}, {_named(seeds)}: {check.detail}"
            lines += [paint.warning(line) for line in wrapped(text, width, _INDENT, 2 * _INDENT)]
    if every:
        for check, seeds in _grouped(agreeing):
            lines += wrapped(f"{check.name}, {_named(seeds)}: {check.detail}", width, _INDENT, 2 * _INDENT)
    return lines


def total_lines(rows: Sequence[VerifiedRow], *, width: int = 80, paint: Paint = PLAIN) -> list[str]:
    """What came of all rows together."""
    wrong = sum(not row.ok for row in rows)
    agreeing, unknown = (sum(check.ok is ok for row in rows for check in row.checks) for ok in (True, None))
    text = (
        f"{counted(len(rows), 'row')}: {len(rows) - wrong} ok, {wrong} with mismatches; {counted(agreeing, 'check')} ok"
    )
    if unknown:
        text += f", {unknown:,} not checked"
    return [(paint.bad if wrong else paint.good)(line) for line in wrapped(text, width)]


def as_json(found: VerifiedRow) -> dict[str, Any]:
    """One row as `verify --json` prints it. Scripts rely on the names."""
    return {
        "row": found.row,
        "ok": found.ok,
        "seeds": list(found.seeds),
        "checks": [
            {"name": check.name, "seed": check.seed, "ok": check.ok, "detail": check.detail}
            for check in found.checks
            if check.ok is not None
        ],
        "unchecked": [
            {"name": check.name, "seed": check.seed, "detail": check.detail}
            for check in found.checks
            if check.ok is None
        ],
    }


def rows_json(rows: Sequence[VerifiedRow]) -> dict[str, Any]:
    """Several rows as `verify --json` prints them."""
    return {"ok": all(row.ok for row in rows), "rows": [as_json(row) for row in rows]}


def _shortly(unknown: Sequence[Check]) -> str:
    """Why, if that takes few words; else what."""
    reasons = "; ".join(dict.fromkeys(f"{check.name}: {check.detail}" for check in unknown))
    if len(reasons) <= _FEW_WORDS:
        return reasons
    return f"{', '.join(dict.fromkeys(check.name for check in unknown))}: -v says why"


def _grouped(checks: Iterable[Check]) -> list[tuple[Check, list[int]]]:
    """Checks that say the same of several seeds, once."""
    found: dict[tuple[str, str], tuple[Check, list[int]]] = {}
    for check in checks:
        found.setdefault((check.name, check.detail), (check, []))[1].append(check.seed)
    return list(found.values())


def _named(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {ranges(seeds)}"
