"""What a site says of one board."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ferbench.components import Permit
from ferbench.leaderboard import BoardTable
from ferbench.records import ReportedResult

#: Digits by which boards and rows are named in addresses.
NAME_DIGITS = 10


#: What a site may show of samples; weights are none of its files.
SHOWN: tuple[Permit, ...] = ("ids", "groups", "pictures")


@dataclass(frozen=True, slots=True)
class BoardPage:
    """A board with what stands beside it.

    reported : figures from the literature of the board's dataset; never among its rows
    shown : what is shown of its samples
    beyond : what of it the dataset's licence does not permit: whoever published it asked for it
    grouped : its samples are of films or subjects, as far as rows tell
    lacking : rows without a page, since what they said of the samples is not at hand
    """

    table: BoardTable
    reported: tuple[ReportedResult, ...] = ()
    shown: tuple[Permit, ...] = ()
    beyond: tuple[Permit, ...] = ()
    lacking: frozenset[str] = frozenset()
    grouped: bool = True

    @property
    def title(self) -> str:
        """The board's name for people; several boards may bear the same."""
        return f"{self.table.board.target} {self.table.board.split}"

    @property
    def withheld(self) -> tuple[Permit, ...]:
        """What is not shown of its samples, of what there is."""
        return tuple([each for each in SHOWN if each not in self.shown and (self.grouped or each != "groups")])

    @property
    def folder(self) -> str:
        """Its folder below the site's: `boards/` and hex digits."""
        return f"boards/{hex_name(self.table.board.fingerprint)}"


def hex_name(name: str) -> str:
    """The first digits of a hash in hex, or of the SHA-256 of what is none: nothing else gets into addresses."""
    if re.fullmatch(f"[0-9a-f]{{{NAME_DIGITS},}}", name):
        return name[:NAME_DIGITS]
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:NAME_DIGITS]
