"""What the peer is given: ferbench's plan as JSON, and its pictures as arrays. The peer itself knows no ferbench."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from ferbench.data.roles import RoleReader
from ferbench.plan import CellPlan, Plan


def write_plan(plan: Plan, path: Path) -> None:
    """Every cell with its chain: a stage is its fingerprint, its dataset and its resolved recipe."""
    stages = {stage.fingerprint: stage for stage in plan.stages}

    def stage_json(name: str) -> dict[str, Any]:
        (part,) = stages[name].parts
        return {"fingerprint": name, "dataset": part.dataset, **dataclasses.asdict(stages[name].recipe)}

    def cell_json(planned: CellPlan) -> dict[str, Any]:
        cell = planned.cell
        named = {"backbone": cell.backbone, "strategy": cell.strategy, "seed": cell.seed, "target": cell.target}
        return {**named, "stages": [stage_json(name) for name in planned.stages]}

    path.write_text(json.dumps({"cells": [cell_json(cell) for cell in plan.cells]}, indent=1))


def write_arrays(plan: Plan, roles: RoleReader, folder: Path) -> None:
    """DATASET-train.npz of all that is trained on and DATASET-report.npz of the targets, for `basic7`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted({part.dataset for stage in plan.stages for part in stage.parts}):
        samples = roles.train(name)
        np.savez(folder / f"{name}-train.npz", images=samples.images, labels=samples.labels)
    for name in sorted({cell.cell.target for cell in plan.cells}):
        samples = roles.report(name)
        np.savez(folder / f"{name}-report.npz", images=samples.images, labels=samples.labels)
