"""A row's model card from its runs and from what the plugins say of its parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ferbench.catalog import Catalog
from ferbench.errors import FerbenchError
from ferbench.expressions import label_set
from ferbench.publication.citations import citations_of
from ferbench.publish.model_card import ModelCard
from ferbench.records import Board, Entry, Run, StageResult
from ferbench.snapshot.licence import permits_of
from ferbench.snapshot.redaction import (
    name_without_folders,
    published,
    withheld,
    without_folders,
    without_location,
)
from ferbench.stages import Stage
from ferbench.store import KeptRun


def model_card_of(
    entry: Entry,
    runs: Sequence[Run],
    board: Board,
    catalog: Catalog,
    command: str,
    *,
    chain: Sequence[tuple[Stage | None, StageResult | None]] = (),
    members: Sequence[Run] = (),
    seed: int | None = None,
    passed_on: bool = False,
) -> ModelCard:
    """What is published of a row: folders of this machine are cut, and so are names of samples that licences withhold.

    Parameters
    ----------
    runs : the row's finished runs, one at least
    command : for a shell, as it may be published
    chain : stages of a run with their results, as the store has them; without them the card names their datasets alone
    members : of an ensemble, a run of each row that it is made of, those that are known
    seed : whose weights lie beside the card
    passed_on : see ModelCard
    """
    permits = permits_of(catalog.dataset)
    stages = [(stage, result) for stage, result in chain if stage is not None and result is not None]
    whole = bool(chain) and len(stages) == len(chain)
    kept = [withheld(published(KeptRun(run, tuple(stages) if run is runs[0] else ())), permits) for run in runs]
    first = runs[0].cell
    named = [part.dataset for stage, _ in stages for part in stage.parts] if whole else []
    trained_on = tuple(dict.fromkeys(named or (*first.auxiliaries, first.target)))
    mean, std = _normalisation(first.backbone, catalog)
    return ModelCard(
        entry=_public(entry),
        board=dataclasses.replace(board, target=without_location(board.target), split=without_folders(board.split)),
        labels=label_set(first.recipe.label_set).classes,
        chain=tuple([stage for stage, _ in kept[0].stages]) if whole else (),
        trained_on=tuple(map(without_location, trained_on)),
        mean=mean,
        std=std,
        environments=tuple(dict.fromkeys(each.run.environment for each in kept)),
        notes=tuple(dict.fromkeys(note for each in kept for note in each.run.notes)),
        citations=citations_of(runs, catalog, members),
        member_rows=len({member.entry for run in runs for member in run.members}),
        weighted=len({round(member.weight, 9) for member in runs[0].members}) > 1,
        withheld_by=tuple([without_location(name) for name in trained_on if "weights" not in permits(name)]),
        command=command,
        seed=seed,
        passed_on=passed_on,
    )


def _public(entry: Entry) -> Entry:
    """Notes are the card's own, out of the runs."""
    return dataclasses.replace(
        entry,
        backbone=name_without_folders(entry.backbone),
        auxiliaries=tuple(map(without_location, entry.auxiliaries)),
        weights=name_without_folders(entry.weights),
        recipe=tuple(
            [(key, without_folders(value) if isinstance(value, str) else value) for key, value in entry.recipe]
        ),
        notes=(),
    )


def _normalisation(backbone: str, catalog: Catalog) -> tuple[tuple[float, ...], tuple[float, ...]]:
    try:
        found = catalog.backbone(backbone)
    except FerbenchError:
        return (), ()  # of a plugin that is not here
    return found.mean, found.std
