"""A pair of a comparison in words: the sentence that says what came out, and the facts it stands on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ferbench.comparison import Pair
from ferbench.quantities import counted, joined, percent, ranges, whole
from ferbench.recipes import RecipeValue
from ferbench.records import Run

#: Of a test; of an interval it is what is outside.
_LEVEL = 0.05

#: Of the images seen: what is less apart has the same budget.
_SAME_BUDGET = 0.05

#: Of an ensemble's members, so many are named.
_ROWS_NAMED = 6

#: Of McNemar's test, where samples come in groups.
MCNEMAR_CLUSTERED = "it takes samples for independent, which those of one film are not"

METRIC_WORDS: Mapping[str, str] = {"accuracy": "accuracy", "uar": "UAR", "macro_f1": "macro-F1"}

#: What a sentence of a pair begins with that cannot be told apart.
UNTOLD = "the data cannot tell"

#: What a row's notes say where select is what is reported on.
_SELECTED = "selected on the reported split"

#: A competitor's runs by block.
Runs = Mapping[str, Sequence[Run]]


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a reader must know of a pair.

    text : with the competitors' names
    general : the same without them, to be counted over many pairs; empty where it belongs to one pair
    warning : whether it makes the comparison weaker
    """

    text: str
    general: str = ""
    warning: bool = False


def sentence(pair: Pair, names: Mapping[str, str], pairs: int) -> str:
    """What came out of a pair, in one sentence without a full stop.

    Parameters
    ----------
    names : how the competitors are called, by their names in the pair
    pairs : that Holm's correction was for
    """
    a, b = names[pair.a], names[pair.b]
    if pair.verdict == "undecided":
        difference = f"{points(pair)[0]} points ({_evidence(pair, pairs)})"
        return "; ".join([f"{UNTOLD} {a} from {b}: {difference}", *_what_would_tell(pair, pairs)])
    first, second = (a, b) if pair.verdict == "a" else (b, a)
    difference = f"{points(pair, turned=pair.verdict == 'b')[0]} points"
    return f"{first} is ahead of {second} by {difference} ({_evidence(pair, pairs, turned=pair.verdict == 'b')})"


def whole_sentence(pair: Pair, names: Mapping[str, str], pairs: int) -> str:
    """The sentence as it stands by itself, with a full stop; a competitor's name is spelled as it is."""
    text = sentence(pair, names, pairs)
    return f"{text[0].upper() if text.startswith(UNTOLD) else text[0]}{text[1:]}."


def points(pair: Pair, *, turned: bool = False) -> tuple[str, str, str]:
    """Difference, low and high end in percentage points, with a second digit where one would show nothing.

    turned : b minus a
    """
    values = (pair.difference, pair.low, pair.high)
    if turned:
        values = (-pair.difference, -pair.high, -pair.low)
    digits = 2 if any(0 < abs(value) < 0.0005 for value in values) else 1
    shown = [f"{100 * value:.{digits}f}" for value in values]
    difference, low, high = (text.removeprefix("-") if not float(text) else text for text in shown)
    return difference, low, high


def p_words(p: float) -> str:
    """A p value in two digits that count, and in as many as show on which side of 5 % it lies: `= 0.02`, `< 0.001`."""
    if p < 0.001:
        return "< 0.001"
    digits = 2
    while (float(f"{p:.{digits}g}") < _LEVEL) != (p < _LEVEL) and digits < 16:
        digits += 1
    return f"= {p:.{digits}g}"


def facts(pair: Pair, names: Mapping[str, str], runs: Mapping[str, Runs]) -> list[Fact]:
    """How the pair was matched, what both share, what was left out, and in what the two are not alike.

    runs : by competitor and block
    """
    blocks = pair.blocks or ("",)
    sides = [
        _Side(names[name], [runs[name][block] for block in blocks], seeds)
        for name, seeds in ((pair.a, pair.seeds_a), (pair.b, pair.seeds_b))
    ]
    return [
        *_matched(pair, *sides),
        *_mcnemar(pair, *sides),
        *(_ensembles(*sides) if any(side.members for side in sides) else [*_shared(pair), *_tuned(*sides)]),
        *_selected(*sides),
        *_unlike(*sides),
        *(Fact(f"left out: {each}", "seeds or blocks that one side alone has were left out") for each in pair.left_out),
    ]


class _Side:
    """One side of a pair: its runs that were compared, one list a block; without seeds, an ensemble over seeds."""

    def __init__(self, name: str, blocks: Sequence[Sequence[Run]], seeds: Sequence[int]) -> None:
        self.name = name
        self.seeds = tuple(seeds)
        self.blocks = [[run for run in runs if run.cell.seed in seeds] or list(runs) for runs in blocks]

    @property
    def firsts(self) -> list[Run]:
        return [runs[0] for runs in self.blocks]

    @property
    def rows(self) -> set[str]:
        return {run.row for run in self.firsts}

    @property
    def selected(self) -> bool:
        """Whether any run was chosen on what is reported."""
        return any(_SELECTED in run.notes for runs in self.blocks for run in runs)

    @property
    def members(self) -> set[str]:
        """Rows that are averaged, where these are ensembles."""
        return {member.row for runs in self.blocks for run in runs for member in run.members}

    def each(self, value: Callable[[Run], object]) -> list[object]:
        """A value of every block's row."""
        return [value(run) for run in self.firsts]


def _evidence(pair: Pair, pairs: int, *, turned: bool = False) -> str:
    _, low, high = points(pair, turned=turned)
    p = f"p {p_words(pair.holm_p)}"
    if pairs > 1:
        p = f"Holm-corrected {p} over {pairs:,} pairs"
    seeds = _seeds(pair, turned=turned)
    n = f"n = {whole(pair.n)}"
    return f"{METRIC_WORDS[pair.metric]}, 95 % interval {low} to {high}, {p}, {seeds}, {n}"


def _seeds(pair: Pair, *, turned: bool) -> str:
    """How many seeds stand behind each side."""
    if pair.paired_seeds:
        return counted(len(pair.seeds), "seed") if pair.seeds else "ensembles over seeds"
    first, second = (pair.seeds_b, pair.seeds_a) if turned else (pair.seeds_a, pair.seeds_b)
    if first and second:
        return f"{len(first):,} against {counted(len(second), 'seed')}, none in common"
    words = [counted(len(some), "seed") if some else "an ensemble over seeds" for some in (first, second)]
    return " against ".join(words)


def _what_would_tell(pair: Pair, pairs: int) -> Iterator[str]:
    """For a pair that cannot be told apart: what could have been, and what it would take."""
    if pair.p < _LEVEL <= pair.holm_p:
        yield f"by itself this pair could be told apart (p {p_words(pair.p)}), among {pairs:,} pairs it cannot"
        return
    seen = f"{points(pair)[0].removeprefix('-')} points"
    if pair.smallest_difference < 1:
        yield f"a difference of {percent(pair.smallest_difference)} points could have been told"
    if pair.difference == 0 or pair.smallest_difference >= 1:
        return
    seeds = None if pair.seeds_needed is None else f"{pair.seeds_needed:,} seeds"
    samples = None if pair.samples_needed is None else _samples(pair)
    if not pair.seeds_known:
        yield (
            f"{samples} would tell {seen} if they are real"
            if samples
            else f"no number of samples alone would tell {seen}"
        )
        yield "one seed tells nothing of seeds" if pair.seeds_a and pair.seeds_b else "one run tells nothing of seeds"
    elif seeds and samples:
        yield f"{seeds} would tell {seen} if they are real, and so would {samples}"
    elif seeds:
        yield f"{seeds} would tell {seen} if they are real, no number of samples alone would"
    elif samples:
        yield f"no number of seeds alone would tell {seen}, {samples} would if they are real"
    else:
        yield f"neither more seeds alone nor more samples alone would tell {seen}"


def _samples(pair: Pair) -> str:
    """How many samples it would take, in two digits, and in how many groups where these were drawn."""
    needed = pair.samples_needed or 0
    about = f"about {_rounded(needed):,} samples"
    if pair.groups is None:
        return about
    return f"{about} of {_rounded(-(-needed * pair.groups // pair.n)):,} groups"


def _rounded(number: int) -> int:
    """Up to two digits that count."""
    step = int(f"1{'0' * (len(str(number)) - 2)}")
    return -(-number // step) * step


def _matched(pair: Pair, a: _Side, b: _Side) -> Iterator[Fact]:
    metric = METRIC_WORDS[pair.metric]
    yield Fact(f"{metric}: {a.name} {percent(pair.value_a)} %, {b.name} {percent(pair.value_b)} %")
    drawn = "samples" if pair.groups is None else f"{counted(pair.groups, 'group')} of samples (films or people)"
    if not pair.paired_seeds:
        yield from _not_paired(a, b, drawn)
    elif not pair.seeds:
        text = f"both are ensembles over seeds, on the same samples; interval over {drawn}"
        yield Fact(text, text)
        text = "one run on each side: says nothing of ensembles over other seeds"
        yield Fact(text, text, True)
    elif len(pair.seeds) == 1:
        text = f"paired: the same seed ({pair.seeds[0]}) and the same samples; interval over {drawn}"
        yield Fact(text, text)
        yield Fact("1 seed: says nothing of other seeds", "1 seed: says nothing of other seeds", True)
    else:
        seeds = f"paired: the same {len(pair.seeds)} seeds ({ranges(pair.seeds)}) and the same samples"
        text = f"{seeds}; interval over seeds and {drawn}"
        yield Fact(text, text)
    if pair.blocks:
        head = "matched in" if len(pair.blocks) == 1 else f"mean over {len(pair.blocks)} blocks that both have:"
        text = f"{head} {'; '.join(pair.blocks)}"
        yield Fact(text, text)


def _not_paired(a: _Side, b: _Side, drawn: str) -> Iterator[Fact]:
    """Each side's seeds by themselves: what the interval is over, and what it knows nothing of."""
    general = "no seed in common"
    text = f"{general}: {ranges(a.seeds)} against {ranges(b.seeds)}"
    if not (a.seeds and b.seeds):
        general = "not paired: an ensemble over seeds has no seed"
        named = [f"{side.name} {_numbered(side.seeds)}" for side in (a, b)]
        text = f"{general}; {' against '.join(named)}"
    several = [side for side in (a, b) if len(side.seeds) > 1]
    whose = "each side" if len(several) == 2 else "".join(side.name for side in several)
    over = f"the seeds of {whose} and {drawn}" if several else drawn
    yield Fact(f"{text}, on the same samples; interval over {over}", general, True)
    for side in (a, b):
        if len(side.seeds) == 1:
            yield Fact(
                f"{side.name} has 1 seed: says nothing of other seeds of it",
                "1 seed on a side: says nothing of other seeds",
                True,
            )
        elif not side.seeds:
            yield Fact(
                f"{side.name} is one run: says nothing of ensembles over other seeds",
                "an ensemble over seeds is one run: says nothing of ensembles over other seeds",
                True,
            )


def _numbered(seeds: Sequence[int]) -> str:
    if not seeds:
        return "over seeds"
    return f"with {'seed' if len(seeds) == 1 else 'seeds'} {ranges(seeds)}"


def _mcnemar(pair: Pair, a: _Side, b: _Side) -> Iterator[Fact]:
    if pair.mcnemar_p is None or pair.discordant is None:
        return
    vote = " on the majority votes over seeds" if max(len(a.seeds), len(b.seeds)) > 1 else ""
    first, second = pair.discordant
    clustered = "" if pair.groups is None else f"; {MCNEMAR_CLUSTERED}"
    yield Fact(
        f"McNemar's exact test{vote}: p {p_words(pair.mcnemar_p)}, {a.name} alone is right on {whole(first)} "
        f"{'sample' if first == 1 else 'samples'}, {b.name} alone on {whole(second)}{clustered}"
    )


def _shared(pair: Pair) -> Iterator[Fact]:
    if not pair.paired_seeds or not pair.stages:
        return
    shared = pair.shared_stages
    every = " in every seed" if len(pair.seeds) > 1 else ""
    if not shared:
        text = "no stage is common to both"
    elif shared == 1:
        text = f"both go through the same stage 1{every}"
    else:
        text = f"both go through the same stages 1 to {shared}{every}"
    yield Fact(text, text)


def _ensembles(a: _Side, b: _Side) -> Iterator[Fact]:
    """An ensemble has no stages of its own and was not tuned; its members have and may have been."""
    for side, other in ((a, b), (b, a)):
        if side.members:
            text = f"{side.name} is an ensemble: stages and tuning are those of its members, {_rows(side.members)}"
            yield Fact(text, "an ensemble, whose stages and tuning are those of its members")
        if inside := side.members & other.rows:
            yield Fact(
                f"{other.name} is one of its members ({_rows(inside)})", "an ensemble against one of its members"
            )


def _rows(rows: Iterable[str]) -> str:
    some = sorted(rows)
    return joined(some) if len(some) <= _ROWS_NAMED else f"{counted(len(some), 'row')}"


def _tuned(a: _Side, b: _Side) -> Iterator[Fact]:
    tries = [sorted({0 if run.cell.tuning is None else len(run.cell.tuning.tries) for run in s.firsts}) for s in (a, b)]
    words = [_tries(each) for each in tries]
    if tries[0] == tries[1]:
        chosen = "" if a.selected or b.selected else ", and chosen on select"
        text = {"not tuned": "neither is tuned"}.get(words[0], f"both are {words[0]}{chosen}")
        yield Fact(text, text)
    elif not any(tries[0]) or not any(tries[1]):
        text = f"{a.name} is {words[0]}, {b.name} is {words[1]}: what is ahead may be the tuning"
        yield Fact(text, "a tuned row against one that is not: what is ahead may be the tuning", True)
    else:
        text = f"{a.name} is {words[0]}, {b.name} is {words[1]}: they are not tuned alike"
        yield Fact(text, "not tuned alike", True)


def _selected(a: _Side, b: _Side) -> Iterator[Fact]:
    if a.selected and b.selected:
        text = f"both were {_SELECTED}, which flatters them"
        yield Fact(text, text, True)
    elif a.selected or b.selected:
        side, other = (a, b) if a.selected else (b, a)
        yield Fact(
            f"{side.name} was {_SELECTED}, which flatters it, {other.name} was not",
            f"one of the two was {_SELECTED}, which flatters it",
            True,
        )


def _tries(numbers: Sequence[int]) -> str:
    if not any(numbers):
        return "not tuned"
    if len(numbers) == 1:
        return f"tuned ({counted(numbers[0], 'try', 'tries')})"
    part = " in part" if 0 in numbers else ""
    return f"tuned{part} ({joined([*map(str, numbers)], 'or')} tries)"


def _unlike(a: _Side, b: _Side) -> Iterator[Fact]:
    """In what the sides' rows are not alike, block by block."""
    found = [
        (title, _against(a.each(value), b.each(value), words))
        for title, value, words in _COMPARED
        if a.each(value) != b.each(value)
    ]
    if any(title == "strategy" for title, _ in found):
        found = [each for each in found if each[0] != "auxiliaries"]
    if len(found) > 1:
        text = f"they differ in more than one thing: {'; '.join(f'{title} {words}' for title, words in found)}"
        titles = joined([title for title, _ in found])
        yield Fact(text, f"they differ in more than one thing: {titles}", True)
    images = [[run.images_seen for run in side.firsts] for side in (a, b)]
    if images[0] != images[1]:
        text = f"images seen: {_against(images[0], images[1], lambda seen: f'{seen:,}')}"
        # A chain of several stages loses the rest of a batch in each.
        close = all(abs(one - other) <= _SAME_BUDGET * one for one, other in zip(*images, strict=True))
        yield Fact(text) if close else Fact(text, "other budgets of images", True)
    recipes = _recipes(a, b)
    if recipes:
        values = "; ".join(f"{key} {words}" for key, words in recipes.items())
        yield Fact(f"recipes differ in {values}", f"recipes differ in {joined([*recipes])}")
    machines = [sorted({_machine(run) for runs in side.blocks for run in runs}) for side in (a, b)]
    if machines[0] != machines[1]:
        yield Fact(
            f"other hardware or software: {_against(machines[0], machines[1], str)}", "other hardware or software", True
        )
    if any(run.board is not None and run.board.synthetic for run in a.firsts):
        text = "synthetic faces: what holds for them need not hold for photographs"
        yield Fact(text, text)


def _share(run: Run, other: float = 1.0) -> float:
    """The part of train; a row that uses none of it is not unlike one for that."""
    return run.train_fraction or other


_COMPARED: tuple[tuple[str, Callable[[Run], object], Callable[[object], str]], ...] = (
    ("backbone", lambda run: run.cell.backbone, str),
    ("strategy", lambda run: run.cell.strategy, str),
    ("auxiliaries", lambda run: ", ".join(run.cell.auxiliaries) or "none", str),
    ("weights", lambda run: run.weights.source, str),
    ("part of train", _share, lambda share: f"{100 * share:.3g} %"),  # type: ignore[operator]
)


def _machine(run: Run) -> str:
    kind = run.environment.device_kind
    where = run.environment.processor if kind == "cpu" else kind
    return f"{where} with {counted(run.environment.threads, 'thread')}, torch {run.environment.torch}"


def _recipes(a: _Side, b: _Side) -> dict[str, str]:
    """Recipe values in which rows differ that are matched, but for those that either was tuned over, by key."""
    found = {}
    tuned = {key for run in (*a.firsts, *b.firsts) for key in _tuned_over(run)}
    sides = [[dict(run.cell.recipe_values()) for run in side.firsts] for side in (a, b)]
    keys = dict.fromkeys(key for side in sides for values in side for key in values)
    for key in keys:
        first, second = ([values.get(key) for values in side] for side in sides)
        # What images_seen comes to is told as the budget.
        if first != second and key not in tuned and key != "images_seen":
            found[key] = _against(first, second, _value)
    return found


def _tuned_over(run: Run) -> Iterator[str]:
    if run.cell.tuning is not None:
        for each in run.cell.tuning.tries:
            yield from (key for key, _ in each.values)


def _value(value: object) -> str:
    given: RecipeValue | None = value  # type: ignore[assignment]
    if given is None:
        return "as in all stages"
    return str(given).lower() if isinstance(given, bool) else str(given)


def _against(first: Iterable[object], second: Iterable[object], words: Callable[[object], str]) -> str:
    """`0.01 against 0.001`; of several blocks each value once."""
    sides = [" or ".join(dict.fromkeys(map(words, side))) for side in (first, second)]
    return " against ".join(sides)
