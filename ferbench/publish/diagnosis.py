"""What `doctor` found, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ferbench.publish.layout import PLAIN, Paint, wrapped

_NAME_WIDTH = 12


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact; `broken` where it keeps ferbench from working."""

    name: str
    text: str
    broken: bool = False


def finding_lines(findings: Sequence[Finding], *, width: int = 80, paint: Paint = PLAIN) -> list[str]:
    """One paragraph a finding, and the verdict."""
    lines = []
    for finding in findings:
        text = f"{finding.name:<{_NAME_WIDTH}}{'broken: ' if finding.broken else ''}{finding.text}"
        part = wrapped(text, width, hanging=" " * _NAME_WIDTH)
        lines += [paint.bad(line) for line in part] if finding.broken else part
    broken = sum(finding.broken for finding in findings)
    verdict = paint.bad(f"{broken} broken") if broken else paint.good("nothing is broken")
    return [*lines, "", verdict]
