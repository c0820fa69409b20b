"""Stages in the middle of their training on disk: one safetensors file a stage, gone when the stage ends."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ferbench.checkpoints import write_whole
from ferbench.errors import CheckpointError
from ferbench.fingerprints import as_plain
from ferbench.records import EpochResult
from ferbench.training import Meter, Partial

if TYPE_CHECKING:
    from torch import Tensor

_MODULE, _OPTIMIZER, _BEST = "module", "optimizer", "best"


@dataclasses.dataclass(frozen=True, slots=True)
class KeptStage:
    """A stage that can be gone on with.

    micro_batch : images that went through the module at once
    made_with : everything but the stage that its bits hang on; elsewhere it is no beginning of the same stage
    spent_seconds : on features, which are found the next time and would be nobody's
    tracked : hash of the samples that the history's `target_accuracy` is of; empty where nothing was tracked
    """

    partial: Partial
    micro_batch: int
    made_with: str = ""
    spent_seconds: float = 0.0
    tracked: str = ""


class Partials:
    """The folder of partial checkpoints below the cache folder."""

    def __init__(self, cache_folder: Path) -> None:
        self.folder = cache_folder / "partials"

    def path(self, fingerprint: str) -> Path:
        return self.folder / f"{fingerprint}.safetensors"

    def save(self, fingerprint: str, kept: KeptStage) -> None:
        """Keep a stage in place of what was kept of it before.

        Raises
        ------
        CheckpointError : the folder cannot be written or the disk is full; what was kept before stays
        """
        from safetensors.torch import save

        partial = kept.partial
        groups = [(_MODULE, partial.module), (_OPTIMIZER, partial.optimizer)]
        if partial.best is not None:
            groups.append((_BEST, partial.best[1]))
        # Cloned one by one: safetensors refuses tensors that share memory, as tied weights do.
        tensors = {
            f"{group}/{name}": value.detach().cpu().contiguous().clone()
            for group, values in groups
            for name, value in values.items()
        }
        facts = {
            "stage": fingerprint,
            "step": partial.step,
            "micro_batch": kept.micro_batch,
            "made_with": kept.made_with,
            "spent_seconds": kept.spent_seconds,
            "tracked": kept.tracked,
            "history": as_plain(partial.history),
            "meter": as_plain(partial.meter),
            "best": None if partial.best is None else partial.best[0],
        }
        content = save(tensors, metadata={"partial": json.dumps(facts)})
        write_whole(self.path(fingerprint), content, "partial checkpoint")

    def load(self, fingerprint: str) -> KeptStage | None:
        """What was kept of a stage; None where nothing was, or where it is damaged: its training then starts anew."""
        from safetensors import SafetensorError, safe_open

        path = self.path(fingerprint)
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {})["partial"])
                groups: dict[str, dict[str, Tensor]] = {_MODULE: {}, _OPTIMIZER: {}, _BEST: {}}
                for key in file.keys():  # noqa: SIM118 (not a mapping)
                    group, _, name = key.partition("/")
                    groups[group][name] = file.get_tensor(key)
            if facts["stage"] != fingerprint:
                return None
            partial = Partial(
                step=int(facts["step"]),
                module=groups[_MODULE],
                optimizer=groups[_OPTIMIZER],
                history=tuple(EpochResult(**epoch) for epoch in facts["history"]),
                meter=Meter(**facts["meter"]),
                best=None if facts["best"] is None else (float(facts["best"]), groups[_BEST]),
            )
            return KeptStage(
                partial,
                int(facts["micro_batch"]),
                str(facts["made_with"]),
                float(facts["spent_seconds"]),
                # An earlier ferbench tracked nothing.
                str(facts.get("tracked", "")),
            )
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None

    def steps_done(self, fingerprint: str, circumstances: str) -> int:
        """How many steps of a stage can be gone on from, 0 where there is nothing; the file's header alone is read.

        circumstances : what the command would go on under (`Workbench.circumstances`)
        """
        from safetensors import SafetensorError, safe_open

        path = self.path(fingerprint)
        # Of ten thousand stages few are kept in the middle, and an exception costs more than a look.
        if not path.is_file():
            return 0
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {})["partial"])
            # Behind the circumstances stands what the steps are done on, which a network that is not cut cannot tell.
            fits = facts["stage"] == fingerprint and facts["made_with"].rpartition(" ")[0] == circumstances
            return int(facts["step"]) if fits else 0
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError):
            return 0

    def remove(self, fingerprint: str) -> None:
        try:
            self.path(fingerprint).unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(f"{self.path(fingerprint)} cannot be removed: {error.strerror or error}") from error
