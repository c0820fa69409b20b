"""What is printed at 80 columns, held against a text whose paths are longer on one machine than on another."""

from __future__ import annotations


def says(printed: str, text: str) -> bool:
    """Whether a text was printed, wherever its lines were broken."""
    return "".join(text.split()) in "".join(printed.split())
