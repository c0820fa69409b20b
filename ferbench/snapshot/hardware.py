"""What computed a run, and what runs are called where the same run of other hardware was there before them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ferbench.evidence import Forgetting, Member
from ferbench.fingerprints import fingerprint
from ferbench.records import Environment
from ferbench.store.kept import KeptRun

#: Devices whose name does not say what they are.
_NAMELESS = ("cpu", "mps")


def hardware_of(environment: Environment) -> str:
    """What a run was computed on: the accelerator's model, or `cpu` with its processor's name."""
    return hardware_named(environment.device_kind, environment.processor)


def hardware_named(device_kind: str, processor: str) -> str:
    """As `hardware_of`, from the two names that decide it."""
    return f"{device_kind}, {processor}" if device_kind in _NAMELESS else device_kind


def renamed(name: str, hardware: str) -> str:
    """What an entry or a stage of this hardware is called where another's has its name."""
    return fingerprint([name, hardware])


def renamed_run(kept: KeptRun, members: Callable[[Member], Member]) -> KeptRun:
    """A run under the name that is its hardware's own: entry, key, stages and what refers to them.

    It says on what it was computed. Its figures are what they were.

    Parameters
    ----------
    members : of an ensemble, what each is called here
    """
    run = kept.run
    hardware = hardware_of(run.environment)

    def own(name: str) -> str:
        return renamed(name, hardware)

    def forgotten(each: Forgetting) -> Forgetting:
        return dataclasses.replace(each, stage=own(each.stage))

    entry = own(run.entry)
    new = dataclasses.replace(
        run,
        entry=entry,
        key=fingerprint([entry, run.cell.seed]),
        stages=tuple(map(own, run.stages)),
        forgetting=tuple(map(forgotten, run.forgetting)),
        members=tuple(map(members, run.members)),
        hardware=hardware,
        notes=tuple(dict.fromkeys((*run.notes, merged_note(hardware)))),
    )
    stages = tuple(
        (
            dataclasses.replace(
                stage,
                fingerprint=own(stage.fingerprint),
                parent=None if stage.parent is None else own(stage.parent),
            ),
            dataclasses.replace(result, fingerprint=own(result.fingerprint)),
        )
        for stage, result in kept.stages
    )
    return KeptRun(
        run=new,
        stages=stages,
        predictions={(own(stage), content): each for (stage, content), each in kept.predictions.items()},
        further=tuple((own(stage), each) for stage, each in kept.further),
    )


def merged_note(hardware: str) -> str:
    """What a run says that was given another name."""
    return f"computed on {hardware} (merged)"
