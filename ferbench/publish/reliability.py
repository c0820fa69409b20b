"""How far a row's probabilities can be believed: its three figures before and after the temperature, and a diagram."""

from __future__ import annotations

from collections.abc import Sequence

from ferbench.evidence import Calibration, ReliabilityBin
from ferbench.metrics import probability_scores
from ferbench.publish.layout import Align, aligned, total_width, wrapped
from ferbench.quantities import percent, whole
from ferbench.records import Predictions
from ferbench.reliability import at_temperature, is_bound, reliability_bins

#: A diagram is as wide as the line has room for, within these bounds.
_NARROWEST, _WIDEST = 12, 40

#: What a row says that has no temperature.
NO_TEMPERATURE = (
    "no temperature: there are no labelled select samples apart from those reported on, or none were stored"
)


def calibration_lines(predictions: Predictions, calibration: Calibration | None, width: int) -> list[str]:
    """NLL, Brier and ECE of labelled predictions, and of the same at the row's temperature.

    predictions : as they were made, of whatever split
    """
    rows = [["", "NLL", "Brier", "ECE %"], ["as predicted", *_figures(predictions)]]
    if calibration is None:
        return [*_table(rows), *wrapped(NO_TEMPERATURE, width, hanging="  ")]
    scaled = at_temperature(predictions, calibration.temperature)
    rows.append(["temperature-scaled", *_figures(scaled)])
    return [*_table(rows), *wrapped(temperature_words(calibration), width, hanging="  ")]


def temperature_words(calibration: Calibration) -> str:
    """The temperature, what it was fitted on, and whether that has a best one at all."""
    text = f"temperature {calibration.temperature:.3g}, fitted on select (n {whole(calibration.select_n)})"
    if is_bound(calibration.temperature):
        text += ", where it is an end of what is tried: select has no best one"
    return text


def reliability_lines(predictions: Predictions, what: str, width: int) -> list[str]:
    """The diagram of labelled predictions: per bin of the top probability, how sure and how right.

    Bins without samples are left out.

    what : which probabilities these are, in words
    """
    bins = [each for each in reliability_bins(predictions) if each.count]
    rows = [["sure %", "n", "mean %", "right %", "gap"]]
    for each in bins:
        assert each.confidence is not None and each.accuracy is not None
        ends = f"{percent(each.low, 0)}–{percent(each.high, 0)}"
        gap = f"{100 * (each.accuracy - each.confidence):+.1f}"
        rows.append([ends, whole(each.count), percent(each.confidence), percent(each.accuracy), gap])
    title = f"reliability {what}: bars are how often it was right, │ how sure it was; gap: right less sure, in points"
    lines = wrapped(title, width, hanging="  ")
    room = min(width - total_width(rows) - 3, _WIDEST)
    bars = ["", *(_bar(each, room) if room >= _NARROWEST else "" for each in bins)]
    return [*lines, *(f"{line}  {bar}".rstrip() for line, bar in zip(_table(rows), bars, strict=True))]


def _bar(each: ReliabilityBin, room: int) -> str:
    """Accuracy as a bar of at most `room` characters, with a mark where the confidence is."""
    assert each.confidence is not None and each.accuracy is not None
    cells = ["█" if (place + 0.5) / room <= each.accuracy else " " for place in range(room)]
    cells[min(int(each.confidence * room), room - 1)] = "│"
    return "".join(cells)


def _figures(predictions: Predictions) -> list[str]:
    nll, brier, ece = probability_scores(predictions)
    return [f"{nll:.3f}", f"{brier:.3f}", percent(ece)]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    sides: list[Align] = ["left", *["right"] * (len(rows[0]) - 1)]  # type: ignore[list-item]
    return aligned(rows, sides)
