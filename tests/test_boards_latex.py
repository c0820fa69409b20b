"""LaTeX of boards: any text is printed as it is, by a reader of its own; tables say what they should."""

from __future__ import annotations

import dataclasses
import re
import unicodedata

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from made_rows import made_board, made_row

from ferbench.cli import root
from ferbench.fingerprints import PROTOCOL_VERSION
from ferbench.leaderboard import FailedEntry
from ferbench.publish.board_columns import COST
from ferbench.publish.boards_latex import board_latex, reported_latex
from ferbench.publish.latex_text import escaped, label_words
from ferbench.records import Board, Entry, Interval, ReportedResult
from ferbench.store import open_store

BOARD = Board("b" * 64, "film", "val", 431, "basic7", PROTOCOL_VERSION, 0.2)

#: What commands print, looked up in the LaTeX Companion's tables and not in the code.
PRINTED = {
    **{"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">"},
    **{"textbar": "|", "textasciigrave": "`", "textendash": "–", "textemdash": "—", "textellipsis": "…", "S": "§"},
    **{"textquoteleft": "‘", "textquoteright": "’", "textquotedblleft": "“", "textquotedblright": "”"},
    **{"ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "o": "ø", "O": "Ø", "l": "ł", "L": "Ł", "i": "ı"},
    **{"j": "ȷ", "copyright": "©", "pm": "±", "times": "×", "div": "÷", "cdot": "·", "approx": "≈", "leq": "≤"},
    **{"geq": "≥", "neq": "≠", "rightarrow": "→", "infty": "∞", "circ": "∘", "mu": "μ", "alpha": "α", "beta": "β"},
    **{"gamma": "γ", "delta": "δ", "epsilon": "ε", "lambda": "λ", "pi": "π", "sigma": "σ", "Delta": "Δ"},
    **{"allowbreak": ""},
}
ACCENTS = {"`": 0x300, "'": 0x301, "^": 0x302, "~": 0x303, "=": 0x304, "u": 0x306, ".": 0x307, '"': 0x308, "r": 0x30A}
ACCENTS |= {"H": 0x30B, "v": 0x30C, "d": 0x323, "c": 0x327, "b": 0x331}
TOKEN = re.compile(
    r"\\(?P<accent>[`'^~=.\"]|[urHvdcb](?=\{))\{(?P<letter>[A-Za-z]|\\[ij])\}|\\(?P<sign>[#$%&_{}])"
    r"|\{\\char34\}(?P<quote>)|\\(?P<command>[A-Za-z]+)(?:\{\})?|(?P<group>[{}])|(?P<math>\$)|(?P<script>\^)"
    r"|(?P<plain>[A-Za-z0-9 !'()*+,\-./:;=?@\[\]])"
)


def printed(source: str) -> str:
    """What TeX would print of a source that has no other macros; anything that it would stumble over is an error."""
    out, place, depth, math = "", 0, 0, False
    while place < len(source):
        token = TOKEN.match(source, place)
        assert token, f"TeX reads {source[place:]!r} as something else"
        place = token.end()
        if token["accent"]:
            letter = token["letter"].lstrip("\\")
            out += unicodedata.normalize("NFC", letter + chr(ACCENTS[token["accent"]]))
        elif token["quote"] is not None:
            out += '"'
        elif token["command"]:
            out += PRINTED[token["command"]]
        elif token["group"]:
            depth += 1 if token["group"] == "{" else -1
            assert depth >= 0
        elif token["math"]:
            math = not math
        elif token["script"]:
            assert math, "a raised sign outside of a formula"
        else:
            out += token["sign"] or token["plain"]
    assert depth == 0 and not math
    return out


def shown(text: str) -> str:
    """What is to be read of a text: signs without a place in LaTeX's standard fonts by their numbers."""
    known = {*PRINTED.values(), "°", "²", "³", "−", "µ", "‐", "‑"}
    line = unicodedata.normalize("NFC", " ".join(text.split()))
    out = ""
    for sign in line:
        letter, *accents = unicodedata.normalize("NFD", sign)
        accented = letter.isascii() and letter.isalpha() and len(accents) == 1 and ord(accents[0]) in ACCENTS.values()
        if sign not in "∘ȷḐḑȨȩḨḩ" and (" " <= sign <= "~" or sign in known or accented):
            out += {"°": "∘", "²": "2", "³": "3", "−": "-", "µ": "μ", "‐": "-", "‑": "-"}.get(sign, sign)
        else:
            out += f"[U+{ord(sign):04X}]"
    return out


NASTY = st.lists(
    st.sampled_from(
        [*"#$%&~_^\\{}\"'`<>|-,?!*[]@ aß±–…éïĵçąＡ\t\x1b\u202e\u05d0\u200d😀", "--", "---", "\\\\", "\n\n", "^^41"]
    )
).map("".join)


@given(NASTY | st.text(max_size=12))
def test_any_text_is_printed_as_it_is(text: str) -> None:
    assert printed(escaped(text)) == printed(escaped(text, breakable=True)) == shown(text)


@given(NASTY)
def test_no_two_signs_become_another_and_none_is_taken_for_an_argument(text: str) -> None:
    source = escaped(text)
    assert source.isascii() and source.isprintable()
    assert not re.search(r"--|''|,,|[?!]`|<<|>>|~", source)
    assert not source.startswith(("[", "*"))
    assert re.fullmatch("[A-Za-z0-9-]+", label_words(text))


def test_well_known_signs() -> None:
    assert escaped("50 % of a_b & c#1 ~ ^ {x} $y$ \\") == (
        r"50 \% of a\_b \& c\#1 \textasciitilde{} \textasciicircum{} \{x\} \$y\$ \textbackslash{}"
    )
    assert escaped("67 ± 1 – é") == r"67 $\pm$ 1 \textendash{} \'{e}"
    assert escaped("a--b\x1b\u202e") == "a-{}-b{[}U+001B{]}{[}U+202E{]}"
    assert escaped("a/b_c", breakable=True) == r"a/\allowbreak{}b\_\allowbreak{}c"


def entry(row: str, rank: int, accuracy: float, **changes: object) -> Entry:
    interval = Interval(accuracy, 0.012, accuracy - 0.1, accuracy + 0.1, "t")
    values: dict[str, object] = {
        **{"row": row, "rank": rank, "backbone": "vgg16", "strategy": "s", "auxiliaries": ("big",), "weights": "w"},
        **{"image_size": 48, "device": "cpu", "seeds": (0, 1), "accuracy": interval, "uar": interval},
        **{"macro_f1": interval, "images_seen": 10_000, "train_seconds": 60.0, "notes": ("said of all",)},
    }
    return Entry(**(values | changes))  # type: ignore[arg-type]


def rows(lines: list[str]) -> list[list[str]]:
    """The cells of all tables' bodies."""
    return [line.split(r" \\ %")[0].split(" & ") for line in lines if r" \\ % " in line]


def test_what_all_rows_have_in_common_is_said_once() -> None:
    said = ("random weights", "1 seed")
    alike = [entry(digit * 10, 1, 0.5, weights="random", notes=said) for digit in "ab"]
    caption = next(line for line in board_latex(BOARD, alike) if line.startswith(r"\caption"))
    assert "weights: random; " in caption and "1 seed" in caption and "random weights" not in caption


def test_a_board_is_a_table_with_its_best_in_bold_and_its_notes_below() -> None:
    entries = (
        entry("a" * 10, 1, 0.68, backbone="hf/a&b_c", notes=("said of all", "50 % #1")),
        entry("b" * 10, 1, 0.66, auxiliaries=()),
        entry("c" * 10, 3, 0.1, weights="random", notes=("said of all", "50 % #1")),
    )
    failed = [FailedEntry("dddddddddd", "vgg16", "s", "film", (), (0,), "the loss is nan_")]
    board = dataclasses.replace(BOARD, synthetic=True)
    lines = board_latex(board, entries, failed, hidden=2)
    assert rows(lines) == [
        [
            *(
                "1",
                r"hf/a\&b\_c\textsuperscript{a}",
                r"s\textsuperscript{b,c}",
                r"\textbf{68.0}",
                r"\textbf{$\pm$ 1.2}",
            ),
            *(r"58.0\textendash{}78.0", "68.0", "68.0", "2"),
        ],
        [
            *("1", r"vgg16\textsuperscript{a}", "s", r"\textbf{66.0}", r"\textbf{$\pm$ 1.2}"),
            *(r"56.0\textendash{}76.0", "66.0", "66.0", "2"),
        ],
        [
            *("3", r"vgg16\textsuperscript{d}", r"s\textsuperscript{b,c}", "10.0", r"$\pm$ 1.2"),
            *(r"0.0\textendash{}20.0", "10.0", "10.0", "2"),
        ],
    ]
    text = "\n".join(lines)
    caption = next(line for line in lines if line.startswith(r"\caption"))
    for said in (
        r"film val.} n 431, basic7, protocol 1, majority line 20.0 \%, synthetic.",
        "3 of 5 rows shown",
        "All rows: 48 px; trained on cpu; said of all.",
        "Student's t over seeds",
    ):
        assert said in caption
    assert [line for line in lines if line.startswith(r"\textsuperscript")] == [
        r"\textsuperscript{a}\,weights: w\quad",
        r"\textsuperscript{b}\,with big\quad",
        r"\textsuperscript{c}\,50 \% \#1\quad",
        r"\textsuperscript{d}\,weights: random",
    ]
    assert r"\par failed dddddddddd vgg16 $\cdot$ s $\cdot$ seed 0: the loss is nan\_" in text
    assert r"\label{tab:ferbench-bbbbbbbbbb}" in lines and lines.count(r"\toprule") == 1


def test_a_stale_board_says_so_and_single_seeds_have_no_spread() -> None:
    interval = Interval(0.5, None, 0.4, 0.6, "wilson")
    stale = dataclasses.replace(BOARD, protocol=PROTOCOL_VERSION - 1)
    lines = board_latex(stale, [dataclasses.replace(entry("a", 2, 0.5, seeds=(3,)), accuracy=interval)])
    text = "\n".join(lines)
    assert r"\textbf{stale: measured under protocol" in text and "Wilson's over samples" in text
    assert rows(lines)[0][3:6] == ["50.0", "", r"40.0\textendash{}60.0"]
    assert "standard deviation" not in text and "textbf{50" not in text
    assert rows(board_latex(BOARD, [])) == []


def test_what_does_not_go_on_a_page_is_several_tables() -> None:
    many = [entry(f"{number:010x}", number, 0.9 - number / 200) for number in range(1, 101)]
    lines = board_latex(BOARD, many)
    assert [row[0] for row in rows(lines)] == [str(number) for number in range(1, 101)]
    labels = [line for line in lines if line.startswith(r"\label")]
    assert len(labels) == len({*labels}) == lines.count(r"\end{table}") == 3
    assert "Rows 1 to 36 of 100." in lines[2]
    wide = board_latex(BOARD, many[:2], view=COST)
    assert len(rows(wide)) == 2 * wide.count(r"\begin{table}[htbp]") > 2
    titles = " ".join(line for line in wide if line.startswith(r"\# & backbone"))
    assert all(title in titles for title in ("spent", "memory", "GFLOPs", "p50 ms"))


def test_published_figures_stand_apart() -> None:
    results = [
        ReportedResult("m&1", "a_film", None, 0.359, None, "someone 2017, arXiv 1234", "disputed"),
        ReportedResult("m2", "a_film", "val", 0.5, 1431, "s_2"),
        ReportedResult("m3", "another", "val", 0.5, 1431, "s"),
    ]
    lines = reported_latex(results, "a_film", "val")
    assert r"\textbf{a\_film: reported, not reproduced.}" in lines[2]
    assert r"\label{tab:ferbench-a-film-reported}" in lines
    body = [line for line in lines if line.endswith(r"\tabularnewline")]
    assert body[0].split(" & ")[1:4] == ["val", "1,431", "50"]
    assert body[1].split(" & ")[:4] == [
        r"\raggedright m\&1\textsuperscript{a}",
        "not stated",
        "not stated",
        "35.9",
    ]
    assert r"\textsuperscript{a}\,disputed" in lines
    assert reported_latex(results, "third") == []


def test_the_command_prints_all_boards(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = str(tmp_path / "board.sqlite")
    with open_store(path) as store:
        made_row(store, "cascade", 0.5)
        made_row(store, "cascade", 0.6, board=made_board("a_b%", 90), status="failed")
    done = CliRunner().invoke(root, ["leaderboard", "--latex", "--store", path])
    assert done.exit_code == 0 and done.output.startswith("% \\usepackage{booktabs}\n\n\\begin{table}")
    assert len(rows(done.output.splitlines())) == 1 and r"a\_b\%" in done.output
    for other in ("--csv", "--markdown", "--json", "--curves"):
        done = CliRunner().invoke(root, ["leaderboard", "--latex", other, "--store", path])
        assert done.exit_code == 2 and "--latex" in done.output
