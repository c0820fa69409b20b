"""Whether a run holds what it says: names, samples, probabilities, and every figure that follows from them.

Nothing that a run says of its scores is believed: they are computed again, and a run that claims others is refused.
What no predictions can tell (how long it took, which checkpoint it was) stays what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ferbench.errors import FerbenchError
from ferbench.evidence import Forgetting
from ferbench.expressions import label_set
from ferbench.fingerprints import PROTOCOL_VERSION, fingerprint
from ferbench.pseudonyms import same_groups
from ferbench.records import Predictions, Run, Score
from ferbench.snapshot.derived import derived
from ferbench.snapshot.hardware import hardware_of
from ferbench.snapshot.strict import Unsound, quoted
from ferbench.store.kept import KeptRun

#: A figure that was rounded to six digits, and one that was computed from probabilities that were.
CLOSE = 2e-6

#: How far from 1 the probabilities of a sample may sum.
SUM_TOLERANCE = 1e-3

#: What rounding may put on top of a probability of 1.
_ABOVE_ONE = 1e-6


class Samples:
    """Labels and groups by the hash of the samples: all who speak of the same samples must agree on them.

    A row that answers other questions than its board asks would be the best on it.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Predictions] = {}
        self._claimed: dict[tuple[str, str], Predictions] = {}
        self._contested: set[tuple[str, str]] = set()

    def knows(self, content: str, labels: str) -> bool:
        return (content, labels) in self._known

    def learn(self, content: str, labels: str, predictions: Predictions) -> None:
        """Take these for what the samples are, as they are here already.

        labels : name of the label set, without which a label is a mere number
        """
        self._known.setdefault((content, labels), predictions)

    def check(self, content: str, labels: str, predictions: Predictions) -> None:
        """Raises Unsound where these are other samples than those that are here.

        Where none are here, they are a claim; two claims that differ make the samples contested.
        """
        key = content, labels
        if key in self._known:
            other = _other_samples(self._known[key], predictions)
            if other:
                raise Unsound(f"{_named(predictions)}: {other} not those that are here of the same samples")
        elif _other_samples(self._claimed.setdefault(key, predictions), predictions):
            self._contested.add(key)

    def contested(self, content: str, labels: str) -> bool:
        """Whether those who came together disagree on these samples, so that nobody can tell who is right."""
        return (content, labels) in self._contested


def checked(kept: KeptRun, samples: Samples) -> KeptRun:
    """The run with its figures computed again; its samples are held against those that are here.

    Raises
    ------
    Unsound : with what is wrong and where
    """
    run = kept.run
    if fingerprint([run.entry, run.cell.seed]) != run.key:
        raise Unsound("key: it is not the hash of entry and seed")
    if run.hardware and run.hardware != hardware_of(run.environment):
        raise Unsound("hardware: it is not that of its environment")
    _check_board(run)
    if run.status == "failed":
        if run.error is None or run.scores or run.forgetting or run.calibration is not None:
            raise Unsound("status: a failed run has an error and no scores")
        return kept
    _check_chain(kept)
    _check_needed(kept)
    for predictions in kept.predictions.values():
        _check_predictions(predictions, len(label_set(run.cell.recipe.label_set).classes))
    try:
        own = derived(kept)
    except FerbenchError as error:
        raise Unsound(quoted(error.line, 200)) from error
    _check_claims(kept, own)
    for (_, content), predictions in kept.predictions.items():
        samples.check(content, _labels_of(run), predictions)
    return own


def check_uncontested(kept: KeptRun, samples: Samples) -> None:
    """Raises Unsound where another run that came with it disagrees on what its samples are."""
    for (_, content), predictions in kept.predictions.items():
        if samples.contested(content, _labels_of(kept.run)):
            raise Unsound(
                f"{_named(predictions)}: rows that came together disagree on labels or groups of the same samples, "
                "and nothing here tells which are right"
            )


def _labels_of(run: Run) -> str:
    """By the one name that a label set has, however it was spelled."""
    return "" if run.board is None else run.board.label_set


def _other_samples(known: Predictions, predictions: Predictions) -> str:
    """What of the samples is otherwise; labels and names that are withheld contradict nobody."""
    if len(known.ids) != len(predictions.ids):
        return "its number of samples is"
    own, other = known.labels, predictions.labels
    if own is not None and other is not None and not np.array_equal(own, other):
        return "its labels are"
    return "" if same_groups(known.groups, predictions.groups) else "its groups are"


def _check_board(run: Run) -> None:
    try:
        named = label_set(run.cell.recipe.label_set).name
    except FerbenchError:
        raise Unsound(f"cell.recipe.label_set: {quoted(run.cell.recipe.label_set)} is no label set") from None
    board = run.board
    if board is None:
        if run.status == "finished":
            raise Unsound("board: a finished run has one")
        return
    if board.label_set != named:
        raise Unsound(f"board.label_set: {quoted(board.label_set)}, the cell's is {named}")
    if board.protocol > PROTOCOL_VERSION:
        raise Unsound(f"board.protocol: {board.protocol} is of a newer ferbench, this one knows {PROTOCOL_VERSION}")


def _check_chain(kept: KeptRun) -> None:
    run = kept.run
    classes = label_set(run.cell.recipe.label_set).classes
    if not run.stages or len(kept.stages) != len(run.stages):
        raise Unsound("stages: its stages did not come with it")
    if run.members and len(run.stages) > 1:
        raise Unsound("stages: an ensemble has one")
    parent: str | None = None
    for number, (name, (stage, result)) in enumerate(zip(run.stages, kept.stages, strict=True), 1):
        where = f"stage {number}"
        expected: tuple[tuple[str, Any, Any], ...] = (
            ("fingerprint", stage.fingerprint, name),
            ("result.fingerprint", result.fingerprint, name),
            ("index", stage.index, number - 1),
            ("parent", stage.parent, parent),
            ("seed", stage.seed, run.cell.seed),
            ("classes", stage.classes, classes),
        )
        if not run.members:
            expected += (
                ("backbone", stage.backbone, run.cell.backbone),
                ("weights.sha256", stage.weights.sha256, run.weights.sha256),
                ("result.checkpoint_sha256", bool(result.checkpoint_sha256), True),
            )
        for field, own, other in expected:
            if own != other:
                raise Unsound(f"{where}.{field}: {quoted(own)}, by its row it is {quoted(other)}")
        parent = name
    if not run.members and run.images_seen != sum(stage.recipe.images_seen for stage, _ in kept.stages):
        raise Unsound(f"images_seen: {run.images_seen:,} is not what its stages saw")
    if run.members and abs(sum(member.weight for member in run.members) - 1) > CLOSE:
        raise Unsound("members: their weights do not sum to 1")


def _check_needed(kept: KeptRun) -> None:
    """That the predictions are there from which its figures follow."""
    run, final = kept.run, kept.run.stages[-1]
    assert run.board is not None
    needed = [(final, run.board.fingerprint, "the board")]
    if run.select_accuracy is not None or run.calibration is not None:
        needed.append((final, run.select_content, "select"))
    if run.select_sha256 and (final, run.select_content) not in kept.predictions:
        raise Unsound("predictions: those of select are not there")
    for each in run.forgetting:
        if each.stage not in run.stages:
            raise Unsound(f"forgetting.stage: {each.stage[:10]} is none of its chain")
        needed += [(stage, each.content, "what is forgotten") for stage in (each.stage, final)]
    for stage, further in kept.further:
        needed.append((stage, further.content, "a further dataset"))
        if label_set(further.label_set).classes != label_set(run.board.label_set).classes:
            raise Unsound(f"further scores.label_set: {quoted(further.label_set)} is not the row's")
    for stage, content, what in needed:
        found = kept.predictions.get((stage, content))
        if found is None:
            raise Unsound(f"predictions: those of {what} are not there")
        if found.labels is None:
            raise Unsound(f"{_named(found)}: labels are withheld, so that nothing can be computed from it")
    report = kept.report
    if len(report.ids) != run.board.n:
        raise Unsound(f"{_named(report)}: {len(report.ids):,} predictions for a board of {run.board.n:,} samples")


def _check_predictions(predictions: Predictions, classes: int) -> None:
    where, probabilities = _named(predictions), predictions.probabilities
    n = len(predictions.ids)
    if n == 0 or probabilities.shape != (n, classes):
        raise Unsound(f"{where}: probabilities of shape {probabilities.shape} for {n:,} ids and {classes} classes")
    if predictions.groups is not None and len(predictions.groups) != n:
        raise Unsound(f"{where}: {len(predictions.groups):,} groups for {n:,} ids")
    labels = predictions.labels
    if labels is not None and (labels.shape != (n,) or labels.min() < 0 or labels.max() >= classes):
        raise Unsound(f"{where}: labels that are none of {classes} classes, or not one for each of {n:,} ids")
    sound = np.isfinite(probabilities).all(axis=1)
    sound &= ((probabilities >= 0) & (probabilities <= 1 + _ABOVE_ONE)).all(axis=1)
    sound &= abs(probabilities.sum(axis=1, dtype=np.float64) - 1) <= SUM_TOLERANCE
    if not sound.all():
        broken = int(np.flatnonzero(~sound)[0])
        raise Unsound(f"{where}, sample {broken + 1}: its probabilities are no distribution")


def _check_claims(kept: KeptRun, own: KeptRun) -> None:
    run, other = kept.run, own.run
    _agree("scores", _values(run.scores), _values(other.scores))
    missing = {"accuracy", "uar", "macro_f1"} - {score.metric for score in run.scores}
    if missing:
        raise Unsound(f"scores: {', '.join(sorted(missing))} are missing")
    assert run.board is not None and other.board is not None
    _agree("board.majority", run.board.majority, other.board.majority)
    _agree("select_accuracy", run.select_accuracy, other.select_accuracy)
    _same_hash(run, other, "predictions_sha256")
    _same_hash(run, other, "select_sha256")
    for claimed, computed in zip(run.forgetting, other.forgetting, strict=True):
        _agree("forgetting.n", claimed.n, computed.n)
        _agree("forgetting.before", claimed.before, computed.before)
        _agree("forgetting.after", claimed.after, computed.after)
        _same_hash(claimed, computed, "before_sha256")
        _same_hash(claimed, computed, "after_sha256")
    if run.calibration is not None:
        if other.calibration is None:
            raise Unsound("calibration: there is nothing to fit a temperature on")
        for name in ("temperature", "select_n", "nll", "brier", "ece"):
            _agree(f"calibration.{name}", getattr(run.calibration, name), getattr(other.calibration, name))
    for (_, further), (_, computed_further) in zip(kept.further, own.further, strict=True):
        _agree("further scores.n", further.n, computed_further.n)
        _agree("further scores", _values(further.scores), _values(computed_further.scores))


def _same_hash(claimed: Run | Forgetting, computed: Run | Forgetting, name: str) -> None:
    if getattr(claimed, name) != getattr(computed, name):
        raise Unsound(f"{name}: it is not the hash of the predictions that came with it")


def _values(scores: Sequence[Score]) -> dict[str, tuple[float, int]]:
    found = {score.metric: (score.value, score.n) for score in scores}
    if len(found) < len(scores):
        raise Unsound("scores: one stands twice")
    return found


def _agree(where: str, claimed: Any, computed: Any) -> None:
    """What is claimed, against what was computed; of several figures, those that are claimed."""
    if isinstance(claimed, dict):
        for name, value in claimed.items():
            if name not in computed:
                raise Unsound(f"{where}: {quoted(name)} is no score that ferbench computes")
            for one, other, what in zip(value, computed[name], ("", ".n"), strict=True):
                _agree(f"{where}.{name}{what}", one, other)
        return
    same = claimed is computed if claimed is None or computed is None else abs(claimed - computed) <= CLOSE
    if not same:
        raise Unsound(f"{where}: {_shown(claimed)} is claimed, its predictions give {_shown(computed)}")


def _shown(value: Any) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _named(predictions: Predictions) -> str:
    return f"predictions on {quoted(predictions.dataset)} {quoted(predictions.split)}"
