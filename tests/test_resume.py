"""Stages that end in the middle and go on: bit for bit what an undisturbed run gives, on the CPU."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import tiny_backbone
from torch import Tensor, nn

from ferbench.errors import CheckpointError
from ferbench.partials import KeptStage, Partials
from ferbench.recipes import Recipe
from ferbench.records import EpochResult
from ferbench.training import Keeping, Partial, Trained, train

RECIPE = Recipe(images_seen=8 * 30, batch_size=8, lr=0.05, precision="fp32", image_size=12)


class Noise:
    """Each step's batch from the step alone, as TrainingBatches gives it."""

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(8, 3, 12, 12, generator=generator).contiguous(memory_format=torch.channels_last)
        return images, torch.randint(0, 7, (8,), generator=generator)


def fresh() -> nn.Module:
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(800, 7)
    )
    return module.to(memory_format=torch.channels_last)


def run(module: nn.Module, recipe: Recipe, **given: object) -> Trained:
    return train(
        module,
        Noise(),
        recipe,
        classifier="5",
        epoch_images=40,
        class_counts=torch.tensor([1.0, 2, 3, 4, 5, 6, 7]),
        seed=1,
        stage_index=0,
        device="cpu",
        **given,  # type: ignore[arg-type]
    )


def stopped_after(folder: Path, recipe: Recipe, steps: int, **given: object) -> Partials:
    """A stage that was asked to stop in the middle, as it lies on the disk."""
    partials, looked = Partials(folder), iter(range(10**6))
    keeping = Keeping(lambda partial: partials.save("f", KeptStage(partial, 8)), 1e9, lambda: next(looked) + 1 >= steps)
    with pytest.raises(KeyboardInterrupt):
        run(fresh(), recipe, keeping=keeping, **given)
    return partials


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adamw", "lr": 0.002},
        {"momentum": 0.0},
        {"imbalance": "weighted", "trainable": "head"},
        {"trainable": "1"},
    ],
)
@pytest.mark.parametrize("steps", [1, 7, 29])
def test_going_on_ends_in_the_same_bits(tmp_path: Path, changes: dict[str, object], steps: int) -> None:
    recipe = dataclasses.replace(RECIPE, **changes)  # type: ignore[arg-type]
    undisturbed = fresh()
    whole = run(undisturbed, recipe)
    kept = stopped_after(tmp_path, recipe, steps).load("f")
    assert kept is not None and kept.partial.step == steps
    module = fresh()
    went_on = run(module, recipe, start=kept.partial)
    for name, value in undisturbed.state_dict().items():
        assert torch.equal(value, module.state_dict()[name]), name
    assert went_on.images_seen == whole.images_seen == 240
    assert [epoch.images_seen for epoch in went_on.history] == [epoch.images_seen for epoch in whole.history]
    # The loss is summed in other pieces.
    assert [e.loss for e in went_on.history] == pytest.approx([e.loss for e in whole.history], rel=1e-5)


def test_the_best_epoch_so_far_is_kept_too(tmp_path: Path) -> None:
    answers = [0.2, 0.9, 0.4, 0.3, 0.1, 0.5]

    def judge(left: list[float]):  # type: ignore[no-untyped-def]
        return lambda module: left.pop(0)

    undisturbed, module = fresh(), fresh()
    whole = run(undisturbed, RECIPE, select_accuracy=judge(list(answers)))
    kept = stopped_after(tmp_path, RECIPE, 17, select_accuracy=judge(list(answers))).load("f")
    assert kept is not None and kept.partial.best is not None and kept.partial.best[0] == 0.9
    went_on = run(module, RECIPE, start=kept.partial, select_accuracy=judge(answers[3:]))
    for name, value in undisturbed.state_dict().items():
        assert torch.equal(value, module.state_dict()[name]), name
    assert [e.select_accuracy for e in went_on.history] == [e.select_accuracy for e in whole.history] == answers


def test_it_is_kept_by_time_and_never_after_the_last_step() -> None:
    steps: list[int] = []
    run(fresh(), RECIPE, keeping=Keeping(lambda partial: steps.append(partial.step), 0.0))
    assert steps == list(range(1, 30))
    steps.clear()
    run(fresh(), RECIPE, keeping=Keeping(lambda partial: steps.append(partial.step), 1e9))
    assert steps == []


def test_time_goes_on_from_what_was_spent(tmp_path: Path) -> None:
    kept = stopped_after(tmp_path, RECIPE, 10).load("f")
    assert kept is not None
    meter = dataclasses.replace(kept.partial.meter, train_seconds=100.0)
    later = run(fresh(), RECIPE, start=dataclasses.replace(kept.partial, meter=meter))
    assert 100 < later.train_seconds < 110


def partial_of(module: nn.Module) -> Partial:
    kept: list[Partial] = []
    run(module, dataclasses.replace(RECIPE, images_seen=16), keeping=Keeping(kept.append, 0.0))
    return dataclasses.replace(kept[0], history=(EpochResult(1, 8, 2.0, 100.0),))


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    partial = partial_of(fresh())
    partials = Partials(tmp_path)
    partials.save("f", KeptStage(partial, 4, "here", 1.5))
    kept = partials.load("f")
    assert kept is not None and (kept.micro_batch, kept.made_with, kept.spent_seconds) == (4, "here", 1.5)
    assert (kept.partial.step, kept.partial.history, kept.partial.meter) == (1, partial.history, partial.meter)
    assert kept.partial.optimizer.keys() == partial.optimizer.keys() != set()
    assert kept.partial.best is None
    partials.remove("f")
    assert partials.load("f") is None and list(partials.folder.iterdir()) == []


def test_how_far_a_stage_is_can_be_told_without_reading_it(tmp_path: Path) -> None:
    partials = Partials(tmp_path)
    assert partials.steps_done("f", "cpu") == 0
    partials.save("f", KeptStage(dataclasses.replace(partial_of(fresh()), step=17), 8, "cpu, 2 threads images"))
    assert partials.steps_done("f", "cpu, 2 threads") == 17
    # Elsewhere it is no beginning of the same stage.
    assert partials.steps_done("f", "cpu, 1 threads") == partials.steps_done("f", "cpu, 2") == 0
    content = partials.path("f").read_bytes()
    partials.path("g").write_bytes(content)
    partials.path("f").write_bytes(content[: len(content) // 2])
    assert partials.steps_done("g", "cpu, 2 threads") == partials.steps_done("f", "cpu, 2 threads") == 0


@pytest.mark.parametrize("damage", ["cut", "flipped header", "another stage's"])
def test_a_damaged_one_is_none(tmp_path: Path, damage: str) -> None:
    partials = Partials(tmp_path)
    partials.save("f", KeptStage(partial_of(fresh()), 8))
    content = partials.path("f").read_bytes()
    if damage == "cut":
        partials.path("f").write_bytes(content[: len(content) // 2])
    elif damage == "flipped header":
        partials.path("f").write_bytes(content[:9] + b"\xff" + content[10:])
    else:
        partials.path("g").write_bytes(content)
        assert partials.load("g") is None
        return
    assert partials.load("f") is None


def test_a_disk_that_takes_nothing_is_one_line_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partials = Partials(tmp_path)
    partials.save("f", KeptStage(partial_of(fresh()), 8))

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CheckpointError, match=r"partial checkpoint of .* No space left on device"):
        partials.save("f", KeptStage(partial_of(fresh()), 8))
    monkeypatch.undo()
    assert partials.load("f") is not None
    assert len(list(partials.folder.iterdir())) == 1


def test_tied_and_frozen_weights_come_back(tmp_path: Path) -> None:
    module = tiny_backbone().build(7, 12)
    state = module.state_dict()
    tied = Partial(3, {**state, "again": next(iter(state.values()))}, {}, (), partial_of(fresh()).meter)
    partials = Partials(tmp_path)
    partials.save("f", KeptStage(tied, 8))
    kept = partials.load("f")
    assert kept is not None
    assert torch.equal(kept.partial.module["again"], next(iter(state.values())))
