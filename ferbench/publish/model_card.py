"""A row's card for the Hugging Face Hub: front matter in YAML with its scores as `model-index`, then Markdown.

The format is that of https://github.com/huggingface/hub-docs/blob/main/modelcard.md. Names of datasets that the Hub
would not take for its own stand in the text alone, but for the target's, which is spelled as it takes them. Figures of
`model-index` are fractions, means over seeds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ferbench.pages.row import Citation
from ferbench.publish.board_columns import share
from ferbench.publish.boards import beats, board_facts, protocol_words
from ferbench.publish.boards_markdown import escaped, harmless, paragraph, table
from ferbench.publish.layout import Align
from ferbench.quantities import counted, duration, figure, joined, percent, whole
from ferbench.recipes import RecipeValue
from ferbench.records import Board, Entry, Environment, Interval
from ferbench.stages import Stage

_TASK = "image-classification"

#: The Hub's names of metrics, what they take, and theirs here.
_METRICS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("accuracy", "accuracy", "Accuracy", {}),
    ("uar", "recall", "UAR (recall, mean over classes)", {"average": "macro"}),
    ("macro_f1", "f1", "Macro-F1", {"average": "macro"}),
)

#: How intervals are computed, by their kind.
_KINDS = {
    "t": "Student's t over seeds",
    "wilson": "Wilson over samples",
    "bootstrap": "bootstrap over samples",
    "cluster-bootstrap": "bootstrap over films or subjects",
}

_ARE = {"licence": "is", "licences": "are"}

#: What the Hub takes for a dataset's name.
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a card says.

    entry : with names as they are published; `notes` are the card's own
    labels : class names in the order of the head's outputs
    chain : the stages of one seed; empty for an ensemble, and where they are not known
    trained_on : datasets of the chain
    mean, std : per channel RGB of images scaled to 0..1; empty where the backbone is not known
    environments : the seeds' distinct ones
    citations : of its parts, with their licences
    withheld_by : datasets whose licence does not permit that weights trained on them are passed on
    command : what makes the row again, for a shell; empty where it is not known
    seed : whose weights lie beside the card; None where none do
    member_rows : rows that an ensemble is made of
    weighted : some of them count more than others
    passed_on : whoever exported the weights says that they may be, whatever `withheld_by` has
    """

    entry: Entry
    board: Board
    labels: tuple[str, ...]
    chain: tuple[Stage, ...]
    trained_on: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    environments: tuple[Environment, ...]
    notes: tuple[str, ...]
    citations: tuple[Citation, ...]
    withheld_by: tuple[str, ...]
    command: str = ""
    seed: int | None = None
    passed_on: bool = False
    member_rows: int = 0
    weighted: bool = False

    @property
    def name(self) -> str:
        """Its name in `model-index`: backbone, strategy and row, in signs that a repository's name may have."""
        words = re.sub(r"[^A-Za-z0-9]+", "-", f"{self.entry.backbone}-{self.entry.strategy}").strip("-")
        return f"{words[:70]}-{self.entry.row}".lstrip("-")

    @property
    def synthetic(self) -> bool:
        """Whether any of its data is."""
        return self.board.synthetic or any(part.synthetic for stage in self.chain for part in stage.parts)


def model_card(card: ModelCard, files: Sequence[str] = ()) -> str:
    """The card as text, ending with a line end; the same for the same record.

    files : lines of Markdown on what lies beside the card
    """
    import yaml

    head = yaml.safe_dump(metadata(card), sort_keys=False, allow_unicode=True, width=10**6)
    entry, board = card.entry, card.board
    title = f"# {paragraph(f'{entry.backbone}, {entry.strategy}: expressions of faces')}"
    sections = [
        [title],
        [_intro(card)],
        ["## Scores", "", *_scores(card)],
        ["## Labels", "", "In the order of the outputs:", "", *_items(card.labels, numbered=True)],
        ["## Calibration", "", _calibration(entry)],
        ["## How it was trained", "", *_training(card)],
        ["## Recipe", "", *table(("value", "is"), [[key, _value(value)] for key, value in entry.recipe])]
        if entry.recipe and not entry.members
        else [],
        ["## Computed with", "", *_environments(card.environments)],
        [*files],
        ["## Limits", "", *_limits(card)],
        ["## Licence", "", *_licence(card)],
        ["## How to have it again", "", *_fenced(card.command)],
        ["## To cite", "", *_items([f"{each.what}: {each.text}" for each in card.citations if each.text])],
        [f"Row {escaped(entry.row)} on board {escaped(board.fingerprint[:10])}, written by ferbench."],
    ]
    return f"---\n{head}---\n\n" + "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def metadata(card: ModelCard) -> dict[str, object]:
    """The front matter as plain values."""
    board = card.board
    metrics = []
    for field, kind, name, arguments in _METRICS:
        value = round(getattr(card.entry, field).mean, 4)
        metrics.append({"type": kind, "value": value, "name": name, **({"args": arguments} if arguments else {})})
    datasets = list(dict.fromkeys([*filter(_HUB_NAME.fullmatch, card.trained_on), _hub_word(board.target)]))
    tags = ["ferbench", "facial-expression-recognition", "transfer-learning"]
    title = _line(f"{board.target} {board.split}")
    # What the licences say in words is none of the Hub's own names.
    return {
        "license": "other",
        "license_name": "see-the-section-licence",
        "library_name": "ferbench",
        "pipeline_tag": _TASK,
        "tags": [*tags, "synthetic-data"] if card.synthetic else tags,
        "datasets": datasets,
        "metrics": [kind for _, kind, _, _ in _METRICS],
        "model-index": [
            {
                "name": card.name,
                "results": [
                    {
                        "task": {"type": _TASK, "name": "Facial expression recognition"},
                        "dataset": {"type": _hub_word(board.target), "name": title, "split": _line(board.split)},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def _intro(card: ModelCard) -> str:
    entry = card.entry
    classes = counted(len(card.labels), "expression")
    told = f"which of {classes} a picture of a face shows"
    if entry.members:
        return (
            f"An ensemble of {_members(card)} of ferbench that tells {told}: the {'weighted ' * card.weighted}mean of "
            "their probabilities. It has no weights of its own."
        )
    after = f", after {escaped(joined([*entry.auxiliaries]))}" if entry.auxiliaries else ""
    text = (
        f"A network that tells {told}: the backbone {escaped(entry.backbone)}, fine-tuned by the strategy "
        f"{escaped(entry.strategy)} for {escaped(card.board.target)}{after}. It started from {_start(entry)}."
    )
    if card.seed is not None:
        text += f" The weights beside this card are those of seed {card.seed}."
    return text


def _members(card: ModelCard) -> str:
    """Of each seed, one run of every row; over seeds, or of fewer rows, how many runs there are."""
    runs, rows = counted(card.entry.members, "run"), counted(card.member_rows, "row")
    return rows if card.entry.members == card.member_rows else f"{runs} of {rows}" if card.member_rows else runs


def _start(entry: Entry) -> str:
    if entry.weights == "random":
        return "random weights"
    return "no weights" if entry.weights == "none" else f"these weights: {escaped(entry.weights)}"


def _scores(card: ModelCard) -> list[str]:
    entry, board = card.entry, card.board
    facts = ", ".join(map(escaped, board_facts(board)))
    seeds = f"{counted(len(entry.seeds), 'seed')} ({', '.join(map(str, entry.seeds))})"
    lines = [f"Measured on {facts}. In percent, mean over {seeds}.", ""]
    rows = [[name, *_interval(getattr(entry, field)), whole(board.n)] for field, _, name, _ in _METRICS]
    titles = ("metric", "mean", "±", "95 % interval", "interval of", "n")
    lines += table(titles, rows, ("left", "right", "right", "left", "left", "right"))
    said = [f"Always naming the most frequent class would be right in {percent(board.majority)} %."]
    said += [] if beats(entry, board) else ["**The row does not beat that.**"]
    said += [f"**{escaped(words)}.**"] if (words := protocol_words(board)) else []
    if card.seed is not None and len(entry.seeds) > 1:
        said.append("A single seed's figures differ from the mean.")
    return [*lines, "", " ".join(said)]


def _interval(interval: Interval) -> tuple[str, str, str, str]:
    return (
        percent(interval.mean),
        "–" if interval.sd is None else percent(interval.sd),
        f"{percent(interval.low)}–{percent(interval.high)}",
        _KINDS.get(interval.kind, interval.kind),
    )


def _calibration(entry: Entry) -> str:
    known = [("NLL", entry.nll, figure), ("Brier score", entry.brier, figure), ("ECE (15 bins)", entry.ece, _percent)]
    said = [f"{name} {words(value)}" for name, value, words in known if value is not None]
    text = f"As predicted: {', '.join(said)}." if said else "It was not measured."
    if entry.temperature is None:
        return f"{text} No temperature was fitted."
    text += (
        f" Logits divided by the temperature {figure(entry.temperature)}, fitted on select samples (mean over seeds)"
    )
    after = [("NLL", entry.calibrated_nll, figure), ("ECE", entry.calibrated_ece, _percent)]
    scaled = [f"{name} {words(value)}" for name, value, words in after if value is not None]
    return f"{text}: {', '.join(scaled)}." if scaled else f"{text}."


def _percent(fraction: float) -> str:
    return f"{percent(fraction)} %"


def _training(card: ModelCard) -> list[str]:
    entry = card.entry
    lines = [f"{whole(entry.images_seen)} images seen, {duration(entry.train_seconds)} of training a seed."]
    if 0 < entry.train_fraction < 1:
        lines[0] += f" {share(entry.train_fraction)} of the target's train samples were used."
    if card.chain:
        rows = [
            [
                str(stage.index + 1),
                "; ".join(f"{part.dataset} {part.splits} ({whole(part.count)})" for part in stage.parts),
                whole(stage.recipe.images_seen),
                stage.recipe.trained,
                f"{stage.recipe.lr:g}",
                f"{stage.recipe.image_size} px",
            ]
            for stage in card.chain
        ]
        sides: tuple[Align, ...] = ("right", "left", "right", "left", "right", "right")
        lines += ["", *table(("stage", "trained on (samples)", "images seen", "trained", "lr", "size"), rows, sides)]
    elif card.trained_on:
        lines += ["", f"Trained on {escaped(joined([*card.trained_on]))}."]
    if card.mean and card.std:
        mean, std = (", ".join(f"{each:g}" for each in values) for values in (card.mean, card.std))
        lines += [
            "",
            f"A picture goes in as {entry.image_size} x {entry.image_size} pixels in RGB, scaled to 0..1, "
            f"less ({mean}), divided by ({std}).",
        ]
    return [*lines, "", *_items(card.notes)] if card.notes else lines


def _environments(environments: Sequence[Environment]) -> list[str]:
    rows = []
    for each in environments:
        libraries = ", ".join(f"{name} {version}" for name, version in each.versions)
        versions = [f"Python {each.python}", f"torch {each.torch}", f"ferbench {each.ferbench}"]
        rows.append(
            [each.device_kind, each.processor, str(each.threads), each.platform, ", ".join(versions), libraries or "–"]
        )
    return table(("device", "processor", "threads", "platform", "with", "libraries"), rows)


def _limits(card: ModelCard) -> list[str]:
    said = [
        "It tells what a face shows in a picture, not what a person feels: it is not made for inferring emotions, "
        "intentions, character or health, and not for decisions about people.",
        f"Its figures hold for pictures like those of {escaped(card.board.target)}; on other faces, light, poses, ages "
        "and origins they may be worse, and worse for some people than for others, which was not measured.",
        f"It always names one of {counted(len(card.labels), 'expression')}, also where a face shows none of them and "
        "where there is no face.",
    ]
    if card.synthetic:
        said.insert(
            0, "**Faces of its data are synthetic: they are rendered. How it does on photographs is not known.**"
        )
    if len(card.entry.seeds) == 1:
        said.append("One seed was run: how much figures vary between seeds is not known.")
    return [f"- {each}" for each in said]


def _licence(card: ModelCard) -> list[str]:
    parts = [f"{each.what}: {each.licence}" for each in card.citations if each.licence]
    lines = [*_items(parts), ""] if parts else []
    if card.entry.members:
        return [*lines, "There are no weights to pass on: they are those of the ensemble's members."]
    licence = "licence" if len(card.withheld_by) == 1 else "licences"
    not_known = f"the {licence} of {escaped(joined([*card.withheld_by]))} {_ARE[licence]} not known to permit it"
    if not card.trained_on:
        say = "Weights: withheld, ask. It is not known what they were trained on."
    elif not card.withheld_by:
        them = escaped(joined([*card.trained_on]))
        say = f"Weights may be passed on as far as the data is concerned: the licence of {them} permits it."
    elif card.passed_on:
        say = f"Weights are passed on at the word of whoever exported them: {not_known}."
    else:
        say = f"Weights: withheld, ask. They were trained on data, and {not_known}."
    return [*lines, f"{say} What the backbone's own licence asks for holds beside it."]


def _fenced(command: str) -> list[str]:
    """A block that no line of its own ends."""
    if not command.strip():
        return ["The command is not known."]
    ticks = "`" * (max((len(run) for run in re.findall("`+", command)), default=0) + 1)
    fence = max(ticks, "```", key=len)
    shown = "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in command.strip("\n"))
    return [f"{fence}sh", *shown.split("\n"), fence]


def _items(texts: Iterable[str], *, numbered: bool = False) -> list[str]:
    return [f"{f'{place}.' if numbered else '-'} {paragraph(text)}" for place, text in enumerate(texts)]


def _value(value: RecipeValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _line(text: str) -> str:
    return "".join(map(harmless, " ".join(text.split())))


def _hub_word(text: str) -> str:
    """A name as the Hub's datasets have it."""
    if _HUB_NAME.fullmatch(text):
        return text
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.")[:90] or "dataset"
