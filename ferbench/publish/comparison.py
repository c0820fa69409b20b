"""Comparisons for a terminal and as JSON: a sentence for each of a few pairs, a table of many."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Protocol

from ferbench.comparison import OVER_SEEDS, AcrossBoards, Pair
from ferbench.publish.boards import board_facts
from ferbench.publish.layout import PLAIN, Align, Paint, aligned, total_width, wrapped, wrapped_facts
from ferbench.publish.verdicts import (
    MCNEMAR_CLUSTERED,
    METRIC_WORDS,
    Fact,
    Runs,
    facts,
    p_words,
    points,
    whole_sentence,
)
from ferbench.quantities import counted, percent, ranges, whole
from ferbench.records import Board, Run

#: Up to so many pairs have a sentence each.
_SENTENCES = 10

#: Of a table's pairs, so many things that were left out are named.
_NAMED = 10

_INDENT = " " * 4

_AHEAD, _BEHIND, _UNTOLD, _NOT_COMPARED = ">", "<", "·", "?"


class ComparedBoard(Protocol):
    """One board's pairs, and what their competitors are."""

    @property
    def board(self) -> Board: ...
    @property
    def pairs(self) -> Sequence[Pair]: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def means(self) -> Mapping[str, float]: ...
    @property
    def mean_of(self) -> Mapping[str, Mapping[str, Sequence[int]]]: ...
    @property
    def runs(self) -> Mapping[str, Runs]: ...


def comparison_lines(
    boards: Sequence[ComparedBoard], left_out: Sequence[str] = (), *, width: int = 80, paint: Paint = PLAIN
) -> list[str]:
    """What came out on each board, in lines of at most `width` characters. Nothing is cut off.

    left_out : in words, what is in no pair
    """
    count = sum(len(each.pairs) for each in boards)
    found = [_FactsOf(each) for each in boards]
    common = _common([facts_of for each in found for facts_of in each.of_pairs]) if count > 1 else []
    shown = _sentence_lines if count <= _SENTENCES else _table_lines
    lines: list[str] = []
    for each, of_board in zip(boards, found, strict=True):
        lines += [paint.bold(line) for line in wrapped_facts(board_facts(each.board), width, hanging=_INDENT)]
        lines += [*shown(each, of_board.without(common), count, width, paint), ""]
    shared = [Fact(f"all pairs: {fact.text}", warning=fact.warning) for fact in common]
    lines += _fact_lines(shared, width, paint, indent="")
    for text in left_out:
        lines += [paint.warning(line) for line in wrapped(f"left out: {text}", width, hanging=_INDENT)]
    return [*lines, *([""] if shared or left_out else []), *_legend_lines(boards, count, width, paint)]


def comparison_json(
    boards: Sequence[ComparedBoard], metric: str, across: AcrossBoards | None = None, left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """What `compare --json` prints. Scripts rely on it: fields may be added, never changed.

    An ensemble over seeds has no seed: `seeds_a` or `seeds_b` is empty for it, and `seeds` where both are such.
    """
    count = sum(len(each.pairs) for each in boards)
    found: dict[str, Any] = {
        "metric": metric,
        "pairs": [_pair_json(each, pair, count) for each in boards for pair in each.pairs],
        "left_out": list(left_out),
    }
    if across is not None:
        found["across_boards"] = _across_json(across)
    return found


#: Before the p of Friedman's test.
_P_OF = {
    "exact": "statistic {:.2f}, exact p",
    "permutation": "statistic {:.2f}, p by permutation",
    "chi-squared": "chi-squared {:.2f}, p",
}


def across_lines(
    across: AcrossBoards, diagram: Sequence[str] = (), *, fewest: int, width: int = 80, paint: Paint = PLAIN
) -> list[str]:
    """Friedman's and Nemenyi's tests in words, and the diagram below.

    Parameters
    ----------
    diagram : its lines; none where there are fewer boards than it is drawn from
    fewest : boards that it is drawn from
    """
    order = sorted(zip(across.average_ranks, across.competitors, strict=True))
    test = (
        f"Friedman's {_P_OF[across.friedman_method].format(across.friedman_statistic)} {p_words(across.friedman_p)}, "
        f"{METRIC_WORDS[across.metric]}, {len(order)} competitors"
    )
    differ = across.friedman_p < 0.05
    said = "the ranks differ" if differ else "the data cannot tell the ranks apart"
    lines = [paint.bold(line) for line in wrapped(f"over {across.boards} boards {said} ({test})", width, "", _INDENT)]
    ranks = [f"{name} {rank:.2f}" for rank, name in order]
    lines += wrapped_facts([f"average ranks, 1 is best: {ranks[0]}", *ranks[1:]], width, _INDENT, between=";")
    if differ or not any(p < 0.05 for *_, p in across.nemenyi):
        lines += _nemenyi_lines(across, width)
    if across.critical_difference is None:
        text = f"which of them can be told apart is said from {fewest} boards up (Nemenyi's test)"
        lines += [paint.dim(line) for line in wrapped(text, width, _INDENT)]
    elif not differ:
        text = "Friedman's test comes first: where it tells nothing, Nemenyi's pairs are not to be read"
        lines += [paint.dim(line) for line in wrapped(text, width, _INDENT)]
    if diagram:
        return [*lines, "", *diagram]
    text = f"the critical-difference diagram is drawn from {fewest} boards up; here are {across.boards}"
    return lines + [paint.dim(line) for line in wrapped(text, width, _INDENT)]


def _nemenyi_lines(across: AcrossBoards, width: int) -> list[str]:
    if across.critical_difference is None:
        return []
    told = [f"{a} and {b} (p {p_words(p)})" for a, b, p in across.nemenyi if p < 0.05]
    head = f"Nemenyi's test at 5 % tells apart what is {across.critical_difference:.2f} ranks apart or more"
    if not told:
        return wrapped(f"{head}: no pair is", width, _INDENT)
    if len(told) <= _NAMED:
        return wrapped_facts([f"{head}: {told[0]}", *told[1:]], width, _INDENT, between=";")
    lines = wrapped(f"{head}: {len(told):,} of {counted(len(across.nemenyi), 'pair')} are", width, _INDENT)
    alike = [", ".join(group) for group in across.groups if len(group) > 1]
    return lines + (
        wrapped_facts([f"not told apart: {alike[0]}", *alike[1:]], width, _INDENT, between=";") if alike else []
    )


class _FactsOf:
    """The facts of each of a board's pairs, with names as short as they can be."""

    def __init__(self, each: ComparedBoard, of_pairs: Sequence[Sequence[Fact]] | None = None) -> None:
        self._each = each
        self.of_pairs = [facts(pair, _short(each), each.runs) for pair in each.pairs] if of_pairs is None else of_pairs

    def without(self, common: Sequence[Fact]) -> _FactsOf:
        return _FactsOf(self._each, [[fact for fact in some if fact not in common] for some in self.of_pairs])


def _short(each: ComparedBoard) -> dict[str, str]:
    """What competitors are called once they were named in full: without their ROW where that tells no more."""
    bare = {name: label.removesuffix(f" ({name})") for name, label in each.labels.items()}
    return {name: text if [*bare.values()].count(text) == 1 else each.labels[name] for name, text in bare.items()}


def _common(found: Sequence[Sequence[Fact]]) -> list[Fact]:
    """What is true of every pair, word for word."""
    return [fact for fact in found[0] if fact.text == fact.general and all(fact in each for each in found)]


def _sentence_lines(each: ComparedBoard, found: _FactsOf, count: int, width: int, paint: Paint) -> list[str]:
    lines: list[str] = []
    for pair, of_pair in zip(each.pairs, found.of_pairs, strict=True):
        text = whole_sentence(pair, each.labels, count)
        style = paint.good if pair.verdict != "undecided" else str
        lines += ["", *(style(line) for line in _paragraph(text, width))]
        lines += _fact_lines(of_pair, width, paint)
    return lines


#: Kept on one line, as numbers with their units are.
_TOGETHER = re.compile(r"(?<=\d) (?=%)|(?<=\b[np]) (?=[=<])|(?<=[=<]) (?=\d)|(?<=\d) (?=(?:points?|seeds?|pairs)\b)")


def _paragraph(text: str, width: int, indent: str = "", hanging: str | None = None) -> list[str]:
    """Wrapped lines in which a number is not parted from its unit; no-break spaces do not reach the terminal."""
    lines = wrapped(_TOGETHER.sub("\u00a0", text), width, indent, hanging)
    return [line.replace("\u00a0", " ") for line in lines]


def _fact_lines(found: Sequence[Fact], width: int, paint: Paint, indent: str = _INDENT) -> list[str]:
    lines: list[str] = []
    for fact in found:
        text = f"! {fact.text}" if fact.warning else fact.text
        style = paint.warning if fact.warning else paint.dim
        lines += [style(line) for line in _paragraph(text, width, indent, indent + "  ")]
    return lines


def _table_lines(each: ComparedBoard, found: _FactsOf, count: int, width: int, paint: Paint) -> list[str]:
    """Numbered competitors with their means, who is ahead of whom, every pair, and how many pairs a fact is of."""
    order = sorted(each.means, key=lambda name: -each.means[name])
    order = [name for name in order if any(name in (pair.a, pair.b) for pair in each.pairs)]
    number = {name: index for index, name in enumerate(order, 1)}
    lines = _standing_lines(each, order, width, paint)
    lines += _fact_lines(basis_facts(each, number), width, paint, indent="")
    told = sum(pair.verdict != "undecided" for pair in each.pairs)
    lines += ["", *wrapped(f"{whole(told)} of {counted(len(each.pairs), 'pair')} can be told apart", width)]
    if len(each.pairs) == len(list(combinations(order, 2))):
        lines += _matrix_lines(each.pairs, order, width)
    lines += ["", *_pair_table(each.pairs, number, width, paint)]
    below = _fact_lines(_general(found.of_pairs), width, paint, indent="")
    gone = sorted({text for pair in each.pairs for text in pair.left_out})
    more = [f"and {len(gone) - _NAMED:,} more, which --json lists"] if len(gone) > _NAMED else []
    below += _fact_lines([Fact(f"left out: {text}") for text in [*gone[:_NAMED], *more]], width, paint, indent="")
    return [*lines, *(["", *below] if below else [])]


def general_facts(each: ComparedBoard) -> list[Fact]:
    """What a reader must know of a board's pairs, each fact with how many of them it is of."""
    return _general(_FactsOf(each).of_pairs)


def _general(of_pairs: Sequence[Sequence[Fact]]) -> list[Fact]:
    general: Counter[Fact] = Counter()
    for of_pair in of_pairs:
        # Each once, and in their order, in which those that are told equally often stay.
        found_here = dict.fromkeys(Fact(fact.general, warning=fact.warning) for fact in of_pair if fact.general)
        general.update(found_here.keys())
    found = []
    for fact, times in general.most_common():
        whose = "all pairs" if times == len(of_pairs) else f"{times:,} of {counted(len(of_pairs), 'pair')}"
        found.append(Fact(f"{whose}: {fact.text}", warning=fact.warning))
    return found


def _standing_lines(each: ComparedBoard, order: Sequence[str], width: int, paint: Paint) -> list[str]:
    metric = METRIC_WORDS[each.pairs[0].metric]
    table = [["#", "competitor", f"{metric} %", "seeds", "rows", "tries", "images"]]
    for index, name in enumerate(order, 1):
        runs = _runs_of_mean(each, name)
        seeds = {run.cell.seed for run in runs} & {seed for some in each.mean_of[name].values() for seed in some}
        tries = {0 if run.cell.tuning is None else len(run.cell.tuning.tries) for run in runs}
        images = {run.images_seen for run in runs}
        table.append(
            [
                *(str(index), each.labels[name], percent(each.means[name])),
                str(len(seeds)) if seeds else "–",
                str(len({run.row for run in runs})),
                ranges(tries) if any(tries) else "–",
                whole(max(images)) if len(images) == 1 else f"{whole(min(images))}–{whole(max(images))}",
            ]
        )
    if total_width(table) <= width:
        head, *rest = aligned(table, ["right", "left", *["right"] * 5])  # type: ignore[list-item]
        return [paint.bold(head), *rest]
    lines: list[str] = []
    for row in table[1:]:
        named = [f"{title} {cell}" for title, cell in zip(table[0][3:], row[3:], strict=True) if cell != "–"]
        lines += wrapped_facts([f"{row[0]:>2}  {row[1]}", f"{metric} {row[2]} %", *named], width, hanging=_INDENT)
    return lines


def _runs_of_mean(each: ComparedBoard, name: str) -> list[Run]:
    """The runs that a competitor's mean is over; an ensemble over seeds is not asked for by its seed."""
    return [
        run
        for block, seeds in each.mean_of[name].items()
        for run in each.runs[name][block]
        if run.cell.seed in seeds or OVER_SEEDS in seeds
    ]


def basis_facts(each: ComparedBoard, number: Mapping[str, int]) -> list[Fact]:
    """Over what the means are, where that is not all there is; and where pairs, over what both have, say otherwise.

    number : the place by its mean of each competitor that is in a pair
    """
    found: list[Fact] = []
    of = [each.mean_of[name] for name in number]
    if any(one != of[0] for one in of[1:]):
        found.append(Fact("means are not over the same blocks and seeds, so that their order tells nothing", "", True))
        for name, index in number.items():
            blocks = [f"{block} ({_seeds_in_words(seeds)})".strip() for block, seeds in each.mean_of[name].items()]
            found.append(Fact(f"{index}: mean over {'; '.join(blocks)}", "", True))
    elif any(len(_runs_of_mean(each, name)) < sum(map(len, each.runs[name].values())) for name in number):
        blocks, (seeds, *_) = [*of[0]], of[0].values()
        of_blocks = "" if blocks == [""] else f" of {counted(len(blocks), 'block')}"
        text = f"means over {_seeds_in_words(seeds)}{of_blocks}, which all have; pairs over all that both have"
        found.append(Fact(text, "", True))
    turned = [pair for pair in each.pairs if pair.difference * (each.means[pair.a] - each.means[pair.b]) < 0]
    if turned:
        sides = [(pair.a, pair.b) if pair.difference > 0 else (pair.b, pair.a) for pair in turned]
        named = [f"{number[ahead]} before {number[behind]}" for ahead, behind in sides]
        more = f" and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
        found.append(
            Fact(f"over all that both have, the order is another: {', '.join(named[:_NAMED])}{more}", "", True)
        )
    return found


def _seeds_in_words(seeds: Sequence[int]) -> str:
    if OVER_SEEDS in seeds:
        return "an ensemble over seeds"
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {ranges(seeds)}"


def _matrix_lines(pairs: Sequence[Pair], order: Sequence[str], width: int) -> list[str]:
    """Who is ahead of whom, where the width carries it."""
    signs: dict[tuple[str, str], str] = {}
    for pair in pairs:
        there, back = {"a": (_AHEAD, _BEHIND), "b": (_BEHIND, _AHEAD)}.get(pair.verdict, (_UNTOLD, _UNTOLD))
        signs[pair.a, pair.b], signs[pair.b, pair.a] = there, back
    digits = len(str(len(order)))
    cell = digits + 1
    if digits + cell * len(order) > width:
        return []
    numbers = range(1, len(order) + 1)
    lines = [" " * digits + "".join(f"{number:>{cell}}" for number in numbers)]
    for number, name in zip(numbers, order, strict=True):
        row = (" " if name == other else signs.get((name, other), _NOT_COMPARED) for other in order)
        lines.append((f"{number:>{digits}}" + "".join(f"{sign:>{cell}}" for sign in row)).rstrip())
    text = f"{_AHEAD} the row is ahead of the column, {_BEHIND} behind it, {_UNTOLD} the data cannot tell"
    return [*lines, *wrapped(text, width)]


def _pair_table(pairs: Sequence[Pair], number: Mapping[str, int], width: int, paint: Paint) -> list[str]:
    """One line a pair, the better one first."""
    with_votes = any(pair.mcnemar_p is not None for pair in pairs)
    rows: list[tuple[tuple[int, int], list[str], bool]] = []
    for pair in pairs:
        turned = number[pair.a] > number[pair.b]
        a, b = sorted((number[pair.a], number[pair.b]))
        difference, low, high = points(pair, turned=turned)
        votes = [] if not with_votes else ["–" if pair.mcnemar_p is None else _p_cell(pair.mcnemar_p)]
        told = pair.verdict != "undecided"
        ahead = str(number[pair.a if pair.verdict == "a" else pair.b]) if told else _UNTOLD
        cells = [str(a), str(b), difference, f"{low} to {high}", _p_cell(pair.holm_p), *votes, ahead]
        rows.append(((a, b), cells, told))
    rows.sort(key=lambda row: row[0])
    titles = ["a", "b", "points", "95 % interval", "p, Holm", *(["p, McNemar"] if with_votes else []), "ahead"]
    table = [titles, *(cells for _, cells, _ in rows)]
    if total_width(table) > width:
        return [line for _, cells, told in rows for line in _narrow_pair(titles, cells, told, width, paint)]
    sides: list[Align] = ["right"] * len(titles)
    head, *lines = aligned(table, sides)
    return [paint.bold(head), *(paint.good(line) if row[2] else line for line, row in zip(lines, rows, strict=True))]


def _narrow_pair(titles: Sequence[str], cells: Sequence[str], told: bool, width: int, paint: Paint) -> list[str]:
    named = [f"{title} {cell}" for title, cell in zip(titles[2:], cells[2:], strict=True)]
    lines = wrapped_facts([f"{cells[0]} against {cells[1]}", *named], width, hanging=_INDENT, between=";")
    return [paint.good(line) for line in lines] if told else lines


def _p_cell(p: float) -> str:
    return p_words(p).removeprefix("= ")


def _legend_lines(boards: Sequence[ComparedBoard], count: int, width: int, paint: Paint) -> list[str]:
    pairs = [pair for each in boards for pair in each.pairs]
    parts = ["points: percentage points"]
    if count > 1:
        parts.append(f"p: corrected by Holm for {count:,} pairs, as intervals and McNemar's p are not")
    parts.append(
        "interval: Student's t at the standard error that samples and seeds make together; samples, or whole groups of "
        "them, are drawn with replacement 10,000 times, the same for both sides"
    )
    if count > _SENTENCES:
        if any(pair.groups is not None and pair.mcnemar_p is not None for pair in pairs):
            parts.append(f"McNemar's test: {MCNEMAR_CLUSTERED}")
    elif any(pair.verdict == "undecided" for pair in pairs):
        parts.append(
            "could have been told, would tell: with a power of 80 %, each pair by itself, if the difference seen is "
            "the true one"
        )
    return [paint.dim(line) for line in _paragraph("; ".join(parts), width)]


def _pair_json(each: ComparedBoard, pair: Pair, count: int) -> dict[str, Any]:
    warnings = [fact.text for fact in facts(pair, each.labels, each.runs) if fact.warning]
    blocks = pair.blocks or ("",)
    rows = [
        list(dict.fromkeys(run.row for block in blocks for run in each.runs[name][block])) for name in (pair.a, pair.b)
    ]
    return {
        "a": pair.a,
        "b": pair.b,
        "n": pair.n,
        "seeds": list(pair.seeds),
        "difference": pair.difference,
        "low": pair.low,
        "high": pair.high,
        "mcnemar_p": pair.mcnemar_p,
        "holm_p": pair.holm_p,
        "verdict": pair.verdict,
        "metric": pair.metric,
        "value_a": pair.value_a,
        "value_b": pair.value_b,
        "p": pair.p,
        "board": pair.board,
        "target": each.board.target,
        "split": each.board.split,
        "label_a": each.labels[pair.a],
        "label_b": each.labels[pair.b],
        "rows_a": rows[0],
        "rows_b": rows[1],
        "blocks": list(pair.blocks),
        "groups": pair.groups,
        "paired_seeds": pair.paired_seeds,
        "discordant": None if pair.discordant is None else list(pair.discordant),
        "shared_stages": pair.shared_stages,
        "stages": pair.stages,
        "standard_error": pair.error,
        "degrees": pair.degrees,
        "smallest_difference": pair.smallest_difference,
        "seeds_needed": pair.seeds_needed,
        "samples_needed": pair.samples_needed,
        "left_out": list(pair.left_out),
        "seeds_a": list(pair.seeds_a),
        "seeds_b": list(pair.seeds_b),
        "seeds_known": pair.seeds_known,
        "warnings": warnings,
        "sentence": whole_sentence(pair, each.labels, count),
    }


def _across_json(across: AcrossBoards) -> dict[str, Any]:
    return {
        "metric": across.metric,
        "boards": across.boards,
        "competitors": list(across.competitors),
        "average_ranks": list(across.average_ranks),
        "friedman_statistic": across.friedman_statistic,
        "friedman_p": across.friedman_p,
        "friedman_method": across.friedman_method,
        "critical_difference": across.critical_difference,
        "nemenyi": [{"a": a, "b": b, "p": p} for a, b, p in across.nemenyi],
        "groups": [list(group) for group in across.groups],
    }
