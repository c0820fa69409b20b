"""What an ensemble is called and what its row says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ferbench.ensembles.inherited import Chains
from ferbench.ensembles.method import Method
from ferbench.ensembles.pool import Pool, Source
from ferbench.quantities import ranges
from ferbench.records import Run
from ferbench.tuning import tuning_note

#: Backbones that an ensemble's name lists one by one.
_NAMED = 2

_ABSENT = "never trained on "


def backbone_of(pool: Pool, entries: Sequence[str], method: Method) -> str:
    """What the rows are, shortly: those that greedy selection may choose from, so that all seeds say the same."""
    counted: Counter[str] = Counter()
    for entry in entries:
        found = pool.of(entry)
        first = next(iter(found.values())).run
        counted[first.cell.backbone] += len(found) if method.over_seeds else 1
    if len(counted) > _NAMED:
        return f"{counted.total()} of {len(counted)} backbones"
    return " + ".join(f"{count} x {name}" if count > 1 else name for name, count in sorted(counted.items()))


def made_of(seed: int, sources: Sequence[Source], counts: Sequence[int], entries: Sequence[str], method: Method) -> str:
    """One line: what is averaged, and how it was chosen."""
    over_seeds = method.over_seeds
    names = [entry[:10] for entry in entries]
    if not method.greedy:
        if not over_seeds:
            return f"mean of {len(names)} rows: {', '.join(names)}"
        if len(names) == 1:
            return f"mean of row {names[0]} over seeds {ranges(source.run.cell.seed for source in sources)}"
        return f"mean of {len(sources)} runs of {len(names)} rows: {', '.join(names)}"
    taken = [
        (f"{count} x " if count > 1 else "") + source.run.row + (f" seed {source.run.cell.seed}" if over_seeds else "")
        for source, count in zip(sources, counts, strict=True)
        if count
    ]
    which = "" if over_seeds else f" (seed {seed})"
    return (
        f"members chosen on select by {method.metric} of {len(sources)} "
        f"{'runs' if over_seeds else 'rows'}{which}: {', '.join(taken)}"
    )


def notes_of(first: str, chains: Chains, runs: Sequence[Run]) -> list[str]:
    """What a reader must know, of what it is made of first.

    first : as `made_of` has it
    """
    notes = [first]
    tuned = [tuning_note(run.cell.tuning) for run in runs if run.cell.tuning is not None]
    if tuned:
        notes.append("members were tuned" if len(tuned) == len(runs) else f"tuned: {len(tuned)} of {len(runs)} members")
    own = [note for run in runs for note in run.notes if note not in tuned and not note.startswith(_ABSENT)]
    if absent := chains.absent_classes:
        own.append(f"{_ABSENT}{', '.join(sorted(absent))}")
    return notes + own
