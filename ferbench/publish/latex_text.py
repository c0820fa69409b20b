"""Text for LaTeX: any text is printed as it is, whatever signs it has, and never read as a command.

It holds for pdflatex, xelatex and lualatex with LaTeX of 2020 or later, without a package: letters with an accent are
put together from both, and what no standard font has is shown by its number, as `[U+4E2D]`.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping

#: Signs that mean something to TeX, to babel's shorthands or, in a cell or an argument, to LaTeX.
_SIGNS: Mapping[str, str] = {
    **{sign: f"\\{sign}" for sign in "#$%&_{}"},
    # Behind a line's end, a star and a bracket would be arguments of it.
    **{sign: f"{{{sign}}}" for sign in "[]*"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    # There is no name for it that the default encoding knows.
    '"': r"{\char34}",
}

_LETTERS: Mapping[str, str] = {
    **{"ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}"},
    **{"ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}"},
    **{"–": r"\textendash{}", "—": r"\textemdash{}", "…": r"\textellipsis{}", "§": r"\S{}", "©": r"\copyright{}"},
    **{"‘": r"\textquoteleft{}", "’": r"\textquoteright{}"},
    **{"“": r"\textquotedblleft{}", "”": r"\textquotedblright{}"},
    **{
        "‐": "-",
        "‑": "-",
        "−": "$-$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "÷": r"$\div$",
        "·": r"$\cdot$",
        "≈": r"$\approx$",
    },
    **{"≤": r"$\leq$", "≥": r"$\geq$", "≠": r"$\neq$", "→": r"$\rightarrow$", "∞": r"$\infty$", "°": r"$^{\circ}$"},
    **{"²": "$^{2}$", "³": "$^{3}$", "µ": r"$\mu$", "μ": r"$\mu$", "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$"},
    **{"δ": r"$\delta$", "ε": r"$\epsilon$", "λ": r"$\lambda$", "π": r"$\pi$", "σ": r"$\sigma$", "Δ": r"$\Delta$"},
}

#: Commands of accents, by the sign that joins a letter.
_ACCENTS: Mapping[str, str] = {
    **{"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": "."},
    **{"\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0323": "d", "\u0327": "c", "\u0331": "b"},
}

#: Letters whose accent Latin Modern lacks in xelatex.
_LACKING = frozenset("ḐḑȨȩḨḩ")

#: Two of these become one other sign.
_LIGATURE = re.compile(r"(?<=-)(?=-)|(?<=')(?=')|(?<=,)(?=,)")

#: Where a long name may go on in the next line.
_BREAK = re.compile(r"(?<=[/_:+,@-])(?=[^\s/_:+,@-])")


def escaped(text: str, *, breakable: bool = False) -> str:
    r"""Text on one line, to be put into a paragraph, a caption or a cell.

    breakable : a line may end within words, behind `/ _ : + , @ -`

    >>> print(escaped("50 % of a_b\\c"))
    50 \% of a\_b\textbackslash{}c
    """
    line = unicodedata.normalize("NFC", " ".join(text.split()))
    parts = _BREAK.split(line) if breakable else [line]
    return r"\allowbreak{}".join([_escaped(part) for part in parts])


def label_words(text: str) -> str:
    r"""What `\label` takes of a text: letters, digits and hyphens; not told apart by the other signs."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "x"


def _escaped(text: str) -> str:
    return _LIGATURE.sub("{}", "".join(map(_sign, text)))


def _sign(sign: str) -> str:
    if sign in _SIGNS:
        return _SIGNS[sign]
    if sign in _LETTERS:
        return _LETTERS[sign]
    if " " <= sign <= "~":
        return sign
    parts = unicodedata.normalize("NFD", sign)
    letter, accent = parts[0], parts[1:]
    if letter in string.ascii_letters and accent in _ACCENTS and sign not in _LACKING:
        below = f"\\{letter}" if letter in "ij" else letter
        return f"\\{_ACCENTS[accent]}{{{below}}}"
    return f"{{[}}U+{ord(sign):04X}{{]}}"
