"""VGG16 and AlexNet at 224 in bf16 on a GPU that they own alone.

`CUDA_VISIBLE_DEVICES=0 pytest benchmarks/test_gpu.py --snapshot results` writes what was measured as
results/speed-<device>-<torch>.md. One GPU alone must be visible: with more, Trainer would spread its batches.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from device_figures import Table, data_path, loops_table, speed_table, time_to_accuracy
from goals import UTILISATION
from peers.ferbench_loop import ferbench_loop
from peers.installed import absent_peers, installed
from peers.race import Peer, race
from peers.torch_loops import BARE, bare_loop, dataloader_loop
from peers.work import Work, batches_ahead

from ferbench.accelerator import prepare_device
from ferbench.catalog import Catalog
from ferbench.environment import automatic_precision, usable_cores
from ferbench.speed import Measuring

DEVICE = "cuda:0"
BACKBONES = ("vgg16", "alexnet")
SIZE = 224
BATCH = 128
#: Of a DataLoader; the best number takes part.
WORKERS = tuple(sorted({count for count in (4, 8, 16) if count < usable_cores()} | {usable_cores()}))
ROUNDS = 5
#: What no loop may fall below, whatever the noise. The tables say whether the goals are reached (`goals`).
FAR_BELOW = 0.8
#: Accuracy beyond the most frequent class's share that is no accident.
LEARNED = 0.05

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.fixture(autouse=True)
def _prepared() -> None:
    prepare_device(DEVICE)


def _works(steps: int) -> list[Work]:
    precision = automatic_precision(DEVICE)
    spare = batches_ahead(max(WORKERS))
    return [Work(name, SIZE, steps, BATCH, DEVICE, precision, spare=spare) for name in BACKBONES]


def test_speed_and_utilisation(tables: list[Table]) -> None:
    catalog = Catalog.load()
    measuring = Measuring(batch_size=BATCH, repeats=5, repeat_seconds=2.0)
    table, measured = speed_table([catalog.backbone(name) for name in BACKBONES], SIZE, DEVICE, measuring)
    utilisation = max(each.training_mfu for each in measured if each.backbone == "vgg16")
    goal = f"vgg16 in training: {utilisation:.2f}, {UTILISATION.verdict(utilisation)}."
    tables.append(dataclasses.replace(table, note=f"{table.note} {goal}"))
    # Far below the goal the step is not the device's.
    assert utilisation > 0.3


def test_the_data_path_is_never_the_bottleneck(tables: list[Table]) -> None:
    found = [(work, data_path(work, ROUNDS)) for work in _works(steps=100)]
    tables.append(loops_table("Steps with the data path, against steps with one batch that is ready", found))
    for _, pairs in found:
        assert pairs.ratio > 0.95


def test_loop_against_all_peers(tables: list[Table]) -> None:
    found = []
    for work in _works(steps=40):
        found += [(work, pairs) for pairs in race(work, ferbench_loop(work), _peers(work), ROUNDS)]
    note = f"Nothing is compiled, here or there: so few steps would not pay for it. {absent_peers()}".rstrip()
    tables.append(loops_table(f"Loops, batches of {BATCH}, from one process", found, note, judged=True))
    for _, pairs in found:
        assert pairs.ratio > FAR_BELOW


def _peers(work: Work) -> list[Peer]:
    """As in test_training_loop.py; tensors lie on the GPU, where no worker can be of use."""
    peers = [
        Peer(BARE, {"": bare_loop(work)}),
        Peer("DataLoader of PIL images", {f"{count} workers": dataloader_loop(work, count) for count in WORKERS}),
    ]
    for name, loop in installed().items():
        pil = {f"{count} workers": loop(work, pil=True, workers=count) for count in WORKERS}
        peers += [Peer(f"{name} on tensors", {"": loop(work, pil=False)}), Peer(f"{name} on PIL images", pil)]
    return peers


def test_time_to_accuracy(tables: list[Table], tmp_path: Path) -> None:
    learned = time_to_accuracy(
        Catalog.load(),
        tmp_path,
        DEVICE,
        backbone="vgg16",
        target="faces3d-film",
        auxiliary="faces3d-source",
        recipe={"images_seen": 100_000, "image_size": SIZE, "batch_size": BATCH},
        level=0.4,
    )
    title = (
        f"Time to accuracy: vgg16 at {SIZE}, weights {learned.weights}, single-stage on the embedded pair, on the "
        "select samples"
    )
    tables.append(Table(title, (), (), learned.sentence()))
    # From random weights so few images may teach it nothing: then the sentence tells.
    if learned.pretrained:
        assert learned.best > learned.majority + LEARNED
