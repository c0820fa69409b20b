"""The critical-difference diagram: what it draws is where it should be, as text and as SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.comparison import AcrossBoards
from ferbench.publish.critical_difference import diagram_lines, diagram_svg

SVG = "{http://www.w3.org/2000/svg}"


def ranked(
    ranks: dict[str, float], critical: float | None = 1.2, groups: tuple[tuple[str, ...], ...] = ()
) -> AcrossBoards:
    return AcrossBoards("accuracy", 7, tuple(ranks), tuple(ranks.values()), 9.1, 0.01, critical, (), groups)


FOUR = ranked(
    {"target-only": 2.2, "cascade": 1.25, "single-stage": 2.75, "source-only": 3.8},
    groups=(("cascade", "target-only"), ("target-only", "single-stage"), ("source-only",)),
)


def test_text_marks_ranks_in_their_order_and_bars_what_is_alike() -> None:
    lines = diagram_lines(FOUR, 80)
    assert max(map(len, lines)) <= 80
    assert lines[0] == "critical difference 1.20 (Nemenyi, 5 %)"
    ticks = next(line for line in lines[2:] if "┼" in line)
    left, right = ticks.index("├"), ticks.index("┤")
    assert right == 79

    def at(rank: float) -> float:
        return left + (rank - 1) / 3 * (right - left)

    marked = [(line.split()[0], float(line.split()[1]), line.index("●")) for line in lines if "●" in line]
    assert [(name, rank) for name, rank, _ in marked] == [
        *[("cascade", 1.25), ("target-only", 2.2), ("single-stage", 2.75), ("source-only", 3.8)]
    ]
    assert [place for *_, place in marked] == [pytest.approx(at(rank), abs=0.51) for _, rank, _ in marked]
    bars = [(line.index("━"), line.rindex("━")) for line in lines if "━" in line]
    assert bars == [
        (pytest.approx(at(1.25), abs=0.51), pytest.approx(at(2.2), abs=0.51)),
        (pytest.approx(at(2.2), abs=0.51), pytest.approx(at(2.75), abs=0.51)),
    ]
    length = lines[1]
    assert (length.index("├"), length.index("┤")) == (left, pytest.approx(at(2.2), abs=0.51))


NAME = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), max_codepoint=0x2FF), min_size=1)


@settings(max_examples=60, deadline=None)
@given(st.lists(NAME, min_size=2, max_size=22, unique=True), st.integers(60, 130), st.randoms(use_true_random=False))
def test_text_fits_and_names_everyone(names: list[str], width: int, random) -> None:  # type: ignore[no-untyped-def]
    ranks = {name: random.uniform(1, len(names)) for name in names}
    lines = diagram_lines(ranked(ranks, random.uniform(0.1, 9)), width)
    assert max(map(len, lines)) <= width
    text = re.sub(r"\s", "", "".join(lines))
    assert all(name in text for name in names)
    assert sum("●" in line for line in lines) >= len(names)


def test_one_long_name_leaves_the_others_their_lines() -> None:
    long = "a-name-that-is-much-too-long-to-stand-beside-a-scale-of-ranks-and-that-goes-on-and-on-and-on"
    lines = diagram_lines(ranked({"cascade": 1.0, long: 2.0, "single-stage": 3.0}), 80)
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if "●" in line] == ["cascade", "2.00", "single-stage"]


def shapes(
    text: str,
) -> tuple[list[list[tuple[float, float]]], list[list[tuple[float, float]]], list[ElementTree.Element]]:
    """Lines, bars and texts of a picture."""
    root = ElementTree.fromstring(text)
    drawn: dict[str, list[list[tuple[float, float]]]] = {"line": [], "bar": []}
    for each in root.iter(f"{SVG}polyline"):
        pairs = (pair.split(",") for pair in each.attrib["points"].split())
        drawn[each.attrib["class"]].append([(float(x), float(y)) for x, y in pairs])
    return drawn["line"], drawn["bar"], list(root.iter(f"{SVG}text"))


def test_svg_draws_ranks_bars_and_the_critical_difference_to_scale() -> None:
    lines, bars, texts = shapes(diagram_svg(FOUR))
    axis = max((line for line in lines if len(line) == 2), key=lambda line: line[1][0] - line[0][0])
    (left, height), (right, _) = axis
    assert right - left == pytest.approx(440)

    def at(rank: float) -> float:
        return left + (rank - 1) / 3 * (right - left)

    leaders = {round((line[0][0] - left) / 440 * 3 + 1, 2): line for line in lines if len(line) == 3}
    assert sorted(leaders) == [1.25, 2.2, 2.75, 3.8]
    for rank, ((x, y), (_, turn), (end, _)) in leaders.items():
        assert (x, y) == (pytest.approx(at(rank), abs=0.06), height)
        assert turn > max(place[1] for bar in bars for place in bar)
        # The better half of the names is on the left.
        assert end < left if rank < 2.5 else end > right
    ends = [(bar[0][0], bar[1][0]) for bar in bars]
    assert ends == [
        (pytest.approx(at(1.25) - 3, abs=0.06), pytest.approx(at(2.2) + 3, abs=0.06)),
        (pytest.approx(at(2.2) - 3, abs=0.06), pytest.approx(at(2.75) + 3, abs=0.06)),
    ]
    (length,) = [line[1][0] - line[0][0] for line in lines if line[0][1] == line[1][1] < height]
    assert length == pytest.approx(1.2 / 3 * 440, abs=0.11)
    assert {each.text for each in texts} >= {"cascade  1.25", "3.80  source-only", "critical difference 1.20", "1", "4"}


@pytest.mark.parametrize("count", [2, 5, 12, 30])
def test_svg_lines_do_not_cross_names_and_stay_within_the_picture(count: int) -> None:
    ranks = {f"competitor {number}": 1 + number * (count - 1) / count for number in range(count)}
    text = diagram_svg(ranked(ranks, critical=99.0))
    lines, bars, texts = shapes(text)
    root = ElementTree.fromstring(text)
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    assert root.attrib["viewBox"] == f"0 0 {width:.0f} {height:.0f}"
    for x, y in (place for line in [*lines, *bars] for place in line):
        assert 0 <= x <= width and 0 <= y <= height
    for each in texts:
        x, wide = float(each.attrib["x"]), 7.6 * len(each.text or "")
        low = {"start": x, "middle": x - wide / 2, "end": x - wide}[each.attrib["text-anchor"]]
        assert low >= -1 and low + wide <= width + 1, each.text
    places = [(each.attrib["text-anchor"], each.attrib["y"]) for each in texts if "competitor" in (each.text or "")]
    assert len(set(places)) == len(places) == count
    assert any("longer than the scale" in (each.text or "") for each in texts)
    # A leader turns outwards below all that turn before it on its side, so that none crosses another.
    leaders = [line for line in lines if len(line) == 3]
    for one in leaders:
        for other in leaders:
            low, high = sorted((one[1][0], one[2][0]))
            if one is not other and low < other[0][0] < high:
                assert other[1][1] < one[1][1]


def test_svg_escapes_names_reads_on_dark_ground_and_is_told_to_screen_readers() -> None:
    names = {'<script>alert("x")</script>&': 1.2, "bell\x07": 1.8}
    text = diagram_svg(ranked(names))
    root = ElementTree.fromstring(text)
    assert "<script" not in text
    found = " ".join(each.text or "" for each in root.iter(f"{SVG}text"))
    assert '<script>alert("x")</script>&' in found and "bell\N{REPLACEMENT CHARACTER}" in found
    assert "prefers-color-scheme:dark" in (root.findtext(f"{SVG}style") or "")
    assert root.findtext(f"{SVG}title") == "Average ranks over boards (accuracy, 7 boards)"
    assert "1.20" in (root.findtext(f"{SVG}desc") or "")
    assert root.attrib["role"] == "img"
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
