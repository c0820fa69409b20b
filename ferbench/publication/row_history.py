"""How a row came about: its recipe, the stages of its chain, how they learned, and on what they were computed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from ferbench.pages.row import ChainStage, CurvePoint, Forgotten, RecipeLine
from ferbench.recipes import Recipe
from ferbench.records import Environment, Run, StageResult
from ferbench.store import KeptRun, Store


def recipe_lines(run: Run, defaults: Recipe | None) -> tuple[RecipeLine, ...]:
    """The recipe's values; those that are not the default first.

    defaults : of its backbone and target; None where they cannot be looked up, then the general ones stand for them
    """
    known = defaults or Recipe()
    lines = []
    for key, value in run.cell.recipe_values():
        default = None if "." in key else getattr(known, key)
        lines.append(RecipeLine(key, value, default, default is None or value != default))
    return tuple(sorted(lines, key=lambda line: not line.changed))


def chain_stages(
    runs: Sequence[KeptRun], rows_of: Mapping[str, Sequence[str]], pruned: Sequence[int]
) -> Iterator[ChainStage]:
    """The chain, each stage over all seeds; what no seed's store has of it is left out.

    Parameters
    ----------
    rows_of : the rows that stand on a stage, by its fingerprint
    pruned : seeds whose last checkpoint was given up
    """
    own = runs[0].run.row
    for index, named in enumerate(zip(*(kept.run.stages for kept in runs), strict=True)):
        found = [pair for kept in runs for pair in kept.stages if pair[0].fingerprint in named]
        if not found:
            continue
        stage, results = found[0][0], [result for _, result in found]
        last = index == len(runs[0].run.stages) - 1
        shared = {row for name in named for row in rows_of.get(name, ()) if row != own}
        yield ChainStage(
            number=index + 1,
            parts=stage.parts,
            recipe=stage.recipe,
            train_seconds=sum(result.train_seconds for result in results) / len(results),
            images_per_second=sum(result.images_per_second for result in results) / len(results),
            peak_memory_bytes=max(result.peak_memory_bytes for result in results),
            micro_batches=tuple(sorted({result.micro_batch for result in results} - {stage.recipe.batch_size})),
            fingerprints=named,
            shared=tuple(sorted(shared)),
            pruned=tuple(pruned) if last else (),
            absent_classes=results[0].absent_classes,
            notes=tuple(dict.fromkeys(note for result in results for note in result.notes)),
        )


def curve_points(kept: KeptRun) -> Iterator[CurvePoint]:
    """A seed's epochs, images counted over the whole chain.

    Accuracy on the target is told where the samples looked at are the row's own: another row may have ended with this
    stage.
    """
    before = 0
    for stage, result in kept.stages:
        tracked = _is_tracked(kept.run, result)
        for epoch in result.history:
            yield CurvePoint(
                seed=kept.run.cell.seed,
                stage=stage.index + 1,
                images_seen=before + epoch.images_seen,
                loss=epoch.loss,
                select_accuracy=epoch.select_accuracy,
                target_accuracy=epoch.target_accuracy if tracked else None,
            )
        before += result.images_seen


def is_tracked(kept: KeptRun) -> bool:
    """Whether its last stage was looked at after each epoch."""
    return bool(kept.stages) and _is_tracked(kept.run, kept.stages[-1][1])


def environments(runs: Sequence[Run]) -> tuple[tuple[Environment, tuple[int, ...]], ...]:
    """The distinct ones, each with its seeds."""
    found: dict[Environment, list[int]] = defaultdict(list)
    for run in runs:
        found[run.environment].append(run.cell.seed)
    return tuple([(environment, tuple(seeds)) for environment, seeds in found.items()])


def forgotten(runs: Sequence[Run]) -> tuple[Forgotten, ...]:
    """What the chain's auxiliaries have lost, means over the seeds that tell."""
    found: dict[tuple[str, str, str], list[tuple[int, float, float]]] = defaultdict(list)
    for run in runs:
        for each in run.forgetting:
            found[each.dataset, each.split, each.content].append((each.n, each.before, each.after))
    return tuple(
        [
            Forgotten(
                dataset=dataset,
                split=split,
                n=figures[0][0],
                before=sum(before for _, before, _ in figures) / len(figures),
                after=sum(after for *_, after in figures) / len(figures),
                seeds=len(figures),
            )
            for (dataset, split, _), figures in found.items()
        ]
    )


def rows_of_stages(store: Store) -> dict[str, tuple[str, ...]]:
    """Which finished rows stand on a stage, by its fingerprint, ensembles left out. A record that is none says nothing.

    Raises
    ------
    StoreError : the store cannot be read
    """
    found: dict[str, dict[str, None]] = defaultdict(dict)
    with store.raw_rows() as rows:
        for text in rows.runs():
            try:
                run = json.loads(str(text))
                if run["status"] == "finished" and not run.get("members"):
                    for name in run["stages"]:
                        found[name][run["entry"][:10]] = None
            except (ValueError, TypeError, KeyError):
                continue
    return {name: tuple(entries) for name, entries in found.items()}


def _is_tracked(run: Run, result: StageResult) -> bool:
    return bool(result.tracked) and result.tracked == run.select_content
