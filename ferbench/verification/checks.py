"""What checking a row found, and the notebook that each check writes into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ferbench.errors import (
    DatasetMissing,
    DetectorMissing,
    FerbenchError,
    PluginError,
    SplitMissing,
    UnknownName,
    one_line,
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, of one run.

    name : what kind of check it is, of NAMES
    seed : of the run
    ok : False for a mismatch; None for what could not be checked here, which is neither
    detail : one line: what agrees, what was found in the place of what, or why there was no checking it
    """

    name: str
    seed: int
    ok: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class VerifiedRow:
    """All checks of a row, seed by seed.

    row : its 10 digits
    seeds : those of its runs
    """

    row: str
    seeds: tuple[int, ...]
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing mismatches; what could not be checked does not count."""
        return all(check.ok is not False for check in self.checks)


class Findings:
    """What one check finds of one run: any number of mismatches and of things that could not be checked."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self._seed = seed
        self._agreed: list[str] = []
        self._wrong: list[str] = []
        self._unknown: list[str] = []

    def agreed(self, what: str) -> None:
        """Something was checked and is as it should be."""
        self._agreed.append(what)

    def wrong(self, line: str) -> None:
        """A mismatch."""
        self._wrong.append(line)

    def unknown(self, why: str) -> None:
        """Something that could not be checked here."""
        self._unknown.append(why)

    def same(self, what: str, stored: object, expected: object, by: str) -> bool:
        """Compare a stored value with what it should be; `by` says where the latter comes from."""
        if stored == expected:
            return True
        self.wrong(f"{what} is {shown(stored)}, {by} it is {shown(expected)}")
        return False

    def guarded(self, look: Callable[[], object]) -> None:
        """Look; what is not here is unknown, and whatever else is raised is a mismatch."""
        try:
            look()
        except (DatasetMissing, DetectorMissing) as error:
            # What to do to have it there is for those who want to run it.
            self.unknown(error.line.partition(": ")[0])
        except (SplitMissing, UnknownName, PluginError) as error:
            # A plugin that does not work here speaks of this machine, not of the row.
            self.unknown(error.line)
        except ModuleNotFoundError as error:
            self.unknown(one_line(error))
        except FerbenchError as error:
            self.wrong(error.line)
        except Exception as error:  # a record that was tampered with may hold anything
            self.wrong(f"unexpected {type(error).__name__}: {one_line(error)}")

    def checks(self) -> list[Check]:
        """The outcome; nothing where nothing was looked at."""
        found = [Check(self.name, self._seed, False, line) for line in dict.fromkeys(self._wrong)]
        found += [Check(self.name, self._seed, None, line) for line in dict.fromkeys(self._unknown)]
        if self._agreed and not self._wrong:
            found.insert(0, Check(self.name, self._seed, True, ", ".join(dict.fromkeys(self._agreed))))
        return found


def shown(value: Any) -> str:
    """A value in a message: hashes by their first digits, numbers to the last one."""
    if isinstance(value, str):
        return value[:12] if _is_hash(value) else f"{value!r}"
    if isinstance(value, float):
        return repr(float(value))
    text = repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


_LONGEST = 120


def _is_hash(text: str) -> bool:
    return len(text) == 64 and not set(text) - set("0123456789abcdef")
