"""The hand-written peer of the matrix benchmark does the work that it is said to do, as ferbench does it."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from by_hand import trainer_matrix
from by_hand.handed_over import write_arrays, write_plan
from tiny import bars, matrix
from torch import nn

from ferbench.data.order import BatchOrder
from ferbench.recipes import Recipe
from ferbench.training import learning_rate_factor, train

SIZE, BATCH = 12, 16
STAGE = {
    **{"fingerprint": "f", "dataset": "small", "images_seen": 5 * BATCH, "batch_size": BATCH, "lr": 0.05},
    **{"head_lr_factor": 3.0, "weight_decay": 0.5, "momentum": 0.9, "warmup": 0.25, "label_smoothing": 0.05},
    **{"augment": "none", "image_size": SIZE, "trainable": "all"},
}


def small_network(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * SIZE**2, num_classes)
    )


@pytest.fixture(autouse=True)
def small_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(trainer_matrix.BACKBONES, "small", (small_network, "4"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """As many pictures as a batch holds, so that their order does not matter; 21 to report on."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, count, seed in (("train", BATCH, 1), ("report", 21, 2)):
        images, labels = bars(count, seed, SIZE)
        np.savez(folder / f"small-{name}.npz", images=images, labels=labels)
    return folder


def test_its_schedule_is_ferbenchs() -> None:
    for steps in (1, 7, 64):
        for warmup in (0.0, 0.25):
            recipe = Recipe(warmup=warmup)
            for step in range(steps):
                expected = learning_rate_factor(recipe, step, steps)
                assert trainer_matrix.one_cycle(warmup, steps, step) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_a_stage_ends_with_ferbenchs_weights(data: Path, tmp_path: Path, trainable: str) -> None:
    stage = STAGE | {"trainable": trainable}
    torch.manual_seed(0)
    classifier = trainer_matrix.Classifier(small_network(7), "4")
    module = small_network(7)
    module.load_state_dict(classifier.backbone.state_dict())

    bench = trainer_matrix.Bench(data, "batched", 0)
    _, line = trainer_matrix.train_stage(classifier, stage, 0, bench, tmp_path)
    assert line["images_seen"] == 5 * BATCH

    pictures = bench.pictures("small", "train", SIZE)
    order = BatchOrder([BATCH], "raw", BATCH, 0, 0)

    class Batches:
        def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
            chosen = torch.from_numpy(order.batch(step)[1])
            return pictures.normalised[chosen], pictures.labels[chosen]

    names = set(Recipe.__dataclass_fields__)
    recipe = Recipe(**{key: value for key, value in stage.items() if key in names})
    train(
        module,
        Batches(),
        recipe,
        classifier="4",
        epoch_images=BATCH,
        class_counts=torch.ones(7),
        seed=0,
        stage_index=0,
        device="cpu",
    )
    moved = 0.0
    for name, value in module.state_dict().items():
        torch.testing.assert_close(classifier.backbone.state_dict()[name], value, rtol=1e-4, atol=1e-5)
        moved += float((value.float() - small_state()[name].float()).abs().sum())
    assert moved > 0.1


def small_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return small_network(7).state_dict()


@pytest.mark.parametrize("images", ["per-image", "batched"])
def test_augmentation_moves_pictures_within_bounds(data: Path, images: str) -> None:
    bench = trainer_matrix.Bench(data, images, 0)
    dataset, _ = bench.training(STAGE | {"augment": "standard"})
    pictures = bench.pictures("small", "train", SIZE)
    torch.manual_seed(0)
    if images == "batched":
        batch = dataset.__getitems__(list(range(BATCH)))
    else:
        batch = trainer_matrix.collate([dataset[index] for index in range(BATCH)])
    pixels, labels = batch["pixel_values"], batch["labels"]
    assert pixels.shape == (BATCH, 3, SIZE, SIZE) and pixels.dtype == torch.float32
    assert labels.tolist() == pictures.labels.tolist()
    difference = (pixels - pictures.normalised).abs().flatten(1).mean(dim=1)
    assert (difference > 0.05).all()
    # One grey value for all three channels, moved while it was one.
    assert pictures.uint8.shape[1] == 1
    grey = pixels * torch.tensor(trainer_matrix.STD).view(3, 1, 1) + torch.tensor(trainer_matrix.MEAN).view(3, 1, 1)
    torch.testing.assert_close(grey, grey[:, :1].expand_as(grey))
    # Still the same faces: grey levels of a whole picture hardly change.
    assert (pixels.mean(dim=(1, 2, 3)) - pictures.normalised.mean(dim=(1, 2, 3))).abs().max() < 0.5


def test_a_draw_in_the_middle_leaves_pictures_as_they_are(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = trainer_matrix.Bench(data, "batched", 0)
    dataset, _ = bench.training(STAGE | {"augment": "standard"})
    monkeypatch.setattr(torch, "rand", lambda *shape: torch.full(shape, 0.5))
    batch = dataset.__getitems__(list(range(BATCH)))
    expected = bench.pictures("small", "train", SIZE).normalised
    torch.testing.assert_close(batch["pixel_values"], expected, rtol=1e-4, atol=1e-3)


def test_a_plan_is_done_to_the_image_and_no_sample_is_dropped(  # type: ignore[no-untyped-def]
    bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ferbench's plan over the tiny datasets, the whole script over its JSON."""
    plan = bench.engine.prepare(matrix("cascade+lp-ft target-only", seeds=(0, 1)), calibrate=False).plan
    write_plan(plan, tmp_path / "plan.json")
    write_arrays(plan, bench.engine._roles, tmp_path / "data")
    monkeypatch.setitem(trainer_matrix.BACKBONES, "tiny", (small_network, "4"))
    command = ["trainer_matrix.py", "--plan", tmp_path / "plan.json", "--data", tmp_path / "data"]
    command += ["--out", tmp_path / "out", "--images", "batched"]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    trainer_matrix.main()

    def lines(name: str, out: str = "out") -> list[dict[str, str]]:
        with (tmp_path / out / name).open() as file:
            return list(csv.DictReader(file))

    planned = {(cell.cell.strategy, str(cell.cell.seed)): cell for cell in plan.cells}
    results = {(line["strategy"], line["seed"]): line for line in lines("results.csv")}
    assert results.keys() == planned.keys()
    for key, line in results.items():
        assert int(line["images_seen"]) == planned[key].images_seen
        assert int(line["n"]) == planned[key].board.n == 35
        logits = np.load(tmp_path / "out" / "predictions" / f"tiny-{key[0]}-{key[1]}.npy")
        labels = bench.engine._roles.report("small").labels
        assert logits.shape == (35, 7)
        assert float(line["accuracy"]) == pytest.approx((logits.argmax(axis=1) == labels).mean())
    assert [line["fingerprint"] for line in lines("stages.csv")] == [f for cell in plan.cells for f in cell.stages]

    monkeypatch.setattr(sys, "argv", [*map(str, command[:-3]), str(tmp_path / "trial"), *command[-2:], "--trial"])
    trainer_matrix.main()
    assert [line["fingerprint"] for line in lines("stages.csv", "trial")] == [plan.cells[0].stages[0]]


def test_as_many_workers_as_are_given_augment(data: Path) -> None:
    for images in ("per-image", "batched"):
        bench = trainer_matrix.Bench(data, images, 2)
        assert bench.training(STAGE | {"augment": "standard"})[1] == 2
        assert bench.training(STAGE)[1] == 0


def test_coloured_pictures_keep_their_colours(tmp_path: Path) -> None:
    images, labels = bars(BATCH, 1, SIZE)
    coloured = np.concatenate([images, images // 2, images // 4], axis=3)
    np.savez(tmp_path / "small-train.npz", images=coloured, labels=labels)
    for form in ("per-image", "batched"):
        dataset, _ = trainer_matrix.Bench(tmp_path, form, 0).training(STAGE | {"augment": "standard"})
        torch.manual_seed(0)
        chosen = list(range(BATCH))
        batch = (
            dataset.__getitems__(chosen)
            if form == "batched"
            else trainer_matrix.collate([dataset[index] for index in chosen])
        )
        pixels = batch["pixel_values"]
        levels = pixels * torch.tensor(trainer_matrix.STD).view(3, 1, 1) + torch.tensor(trainer_matrix.MEAN).view(
            3, 1, 1
        )
        red, green, blue = levels.mean(dim=(0, 2, 3)).tolist()
        assert red > 1.5 * green > 2 * blue


def test_the_plan_names_what_a_stage_needs(bench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    plan = bench.engine.prepare(matrix("cascade+linear-probe"), calibrate=False).plan
    write_plan(plan, tmp_path / "plan.json")
    (cell,) = json.loads((tmp_path / "plan.json").read_text())["cells"]
    stages: list[dict[str, Any]] = cell["stages"]
    assert [stage["dataset"] for stage in stages] == ["big", "small"]
    assert [stage["trainable"] for stage in stages] == ["all", "head"]
    assert sum(stage["images_seen"] for stage in stages) == plan.cells[0].images_seen
    assert set(STAGE) <= set(stages[0])
