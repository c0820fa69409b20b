"""The loop against steps written by hand, against torch's own schedules, and against itself."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tiny import tiny_backbone
from torch import Tensor, nn
from torch.nn import functional

from ferbench.errors import TrainingError
from ferbench.fingerprints import derived_seed
from ferbench.optimization import learning_rate_factor
from ferbench.recipes import Recipe
from ferbench.records import EpochResult
from ferbench.training import Progress, Trained, autocast, train

BASE = Recipe(
    images_seen=8,
    batch_size=8,
    lr=0.1,
    momentum=0.0,
    weight_decay=0.0,
    schedule="constant",
    label_smoothing=0.0,
    precision="fp32",
)


class Fixed:
    """Batches by step, as a list gives them, again from the start when it ends."""

    def __init__(self, steps: Sequence[tuple[Tensor, Tensor]]) -> None:
        self._steps = steps

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        return self._steps[step % len(self._steps)]


def random_batches(count: int = 4, size: int = 12, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(8, 3, size, size, generator=generator), torch.randint(0, 7, (8,), generator=generator))
        for _ in range(count)
    ]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return tiny_backbone().build(7, 12)


def linear(seed: int = 0) -> nn.Sequential:
    """A body and a head without anything random, for sums by hand."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(27, 5), nn.Tanh(), nn.Linear(5, 7))


def run(module: nn.Module, recipe: Recipe, steps: Sequence[tuple[Tensor, Tensor]], **changes: object) -> Trained:
    options: dict[str, object] = {
        "classifier": "6",
        "epoch_images": 16,
        "class_counts": torch.ones(7),
        "seed": 0,
        "stage_index": 0,
        "device": "cpu",
    }
    return train(module, Fixed(steps), recipe, **{**options, **changes})  # type: ignore[arg-type]


def states_equal(a: nn.Module, b: nn.Module) -> bool:
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- steps by hand ----------------------------------------------------------------------------------------------------


def softmax_gradient(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of the mean cross-entropy with respect to the logits; targets are rows of probabilities."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = exponentials / exponentials.sum(axis=1, keepdims=True)
    return (shares - targets) * weights[:, None] / weights.sum()


@pytest.mark.parametrize(("smoothing", "imbalance"), [(0.0, "none"), (0.2, "none"), (0.0, "weighted")])
def test_one_step_of_the_head_is_the_one_done_by_hand(smoothing: float, imbalance: str) -> None:
    module, steps = linear(), random_batches(1, 3)
    images, labels = steps[0]
    counts = torch.tensor([4.0, 1.0, 1.0, 0.0, 2.0, 1.0, 3.0])
    labels = torch.tensor([0, 1, 2, 4, 5, 6, 0, 4])
    head = module[3]
    weight, bias = (p.detach().double().numpy().copy() for p in (head.weight, head.bias))
    features = torch.tanh(module[1](images.flatten(1))).detach().double().numpy()
    recipe = dataclasses.replace(
        BASE, label_smoothing=smoothing, imbalance=imbalance, trainable="head", weight_decay=0.01
    )
    run(module, recipe, [(images, labels)], classifier="3", class_counts=counts)

    targets = np.full((8, 7), smoothing / 7)
    targets[np.arange(8), labels.numpy()] += 1 - smoothing
    # Inverse frequency over the six classes that there are.
    per_class = {0: 12 / 4 / 6, 1: 2.0, 2: 2.0, 4: 1.0, 5: 2.0, 6: 12 / 3 / 6}
    weights = np.array([per_class[int(label)] for label in labels]) if imbalance == "weighted" else np.ones(8)
    gradient = softmax_gradient(features @ weight.T + bias, targets, weights)
    # Weight decay is for weights, not for biases.
    np.testing.assert_allclose(head.weight.detach(), weight - 0.1 * (gradient.T @ features + 0.01 * weight), atol=1e-6)
    np.testing.assert_allclose(head.bias.detach(), bias - 0.1 * gradient.sum(axis=0), atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_steps_are_those_of_torchs_optimizers_with_their_own_rates_and_decays(optimizer: str) -> None:
    recipe = dataclasses.replace(
        BASE,
        optimizer=optimizer,
        images_seen=32,
        momentum=0.9,
        weight_decay=0.02,
        head_lr_factor=5.0,
        lr=0.01,
        label_smoothing=0.1,
        imbalance="weighted",
        schedule="one-cycle",
        warmup=0.5,
    )
    counts = torch.tensor([4.0, 1.0, 1.0, 2.0, 2.0, 1.0, 3.0])
    module, steps = linear(), random_batches(4, 3)
    mine = copy.deepcopy(module)
    run(mine, recipe, steps, classifier="3", class_counts=counts)

    body, head = module[1], module[3]
    groups = [
        {"params": [body.weight], "lr": 0.01, "weight_decay": 0.02},
        {"params": [body.bias], "lr": 0.01, "weight_decay": 0.0},
        {"params": [head.weight], "lr": 0.05, "weight_decay": 0.02},
        {"params": [head.bias], "lr": 0.05, "weight_decay": 0.0},
    ]
    by_hand = (
        torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True, foreach=False)
        if optimizer == "sgd"
        else torch.optim.AdamW(groups, foreach=False)
    )
    loss_of = nn.CrossEntropyLoss(weight=counts.sum() / counts / 7, label_smoothing=0.1)
    for step, (images, labels) in enumerate(steps):
        for group, peak in zip(by_hand.param_groups, (0.01, 0.01, 0.05, 0.05), strict=True):
            # Two steps up from a tenth, two steps down a cosine.
            group["lr"] = peak * (0.1, 0.55, 1.0, 0.5)[step]
        by_hand.zero_grad()
        loss_of(module(images), labels).backward()
        by_hand.step()
    for found, expected in zip(mine.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_one_step_of_plain_sgd_is_parameter_minus_rate_times_gradient() -> None:
    module, steps = network(), random_batches(1)
    before = copy.deepcopy(module)
    run(module, BASE, steps)
    torch.manual_seed(derived_seed(0, 0, "dropout", 0))
    functional.cross_entropy(before.train()(steps[0][0]), steps[0][1]).backward()
    for found, start in zip(module.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(found, start - 0.1 * start.grad, atol=1e-7, rtol=1e-6)


# --- learning rate ----------------------------------------------------------------------------------------------------


def test_schedules_by_hand() -> None:
    one_cycle = dataclasses.replace(BASE, schedule="one-cycle", warmup=0.25)
    found = [learning_rate_factor(one_cycle, step, 16) for step in range(16)]
    expected = [0.1, 0.325, 0.55, 0.775] + [(1 + math.cos(math.pi * k / 12)) / 2 for k in range(12)]
    assert found == pytest.approx(expected)
    cosine = dataclasses.replace(BASE, schedule="cosine", warmup=0.25)
    expected = [(1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]
    assert [learning_rate_factor(cosine, step, 8) for step in range(8)] == pytest.approx(expected)
    assert {learning_rate_factor(BASE, step, 8) for step in range(8)} == {1.0}


@pytest.mark.parametrize("warmup", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_the_factor_never_leaves_0_to_1(warmup: float, steps: int) -> None:
    recipe = dataclasses.replace(BASE, schedule="one-cycle", warmup=warmup)
    factors = [learning_rate_factor(recipe, step, steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


# --- what is trained --------------------------------------------------------------------------------------------------


def test_a_frozen_prefix_stands_still_to_the_bit() -> None:
    module, start = network(), network()
    recipe = dataclasses.replace(BASE, trainable="head", images_seen=80, momentum=0.9, weight_decay=0.1)
    run(module, recipe, random_batches())
    for name, value in module.state_dict().items():
        # All but the head, BatchNorm's running statistics and its counter included.
        assert torch.equal(value, start.state_dict()[name]) == (not name.startswith("6.")), name


def test_a_frozen_prefix_drops_nothing_out() -> None:
    # With dropout between prefix and head in evaluation mode, two seeds give the same bits.
    one, other = network(), network()
    recipe = dataclasses.replace(BASE, trainable="head", images_seen=40)
    run(one, recipe, random_batches(), seed=1)
    run(other, recipe, random_batches(), seed=2)
    assert states_equal(one, other)


def test_after_a_head_alone_everything_can_be_trained_again() -> None:
    module = network()
    run(module, dataclasses.replace(BASE, trainable="head"), random_batches())
    run(module, BASE, random_batches())
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not torch.equal(module.state_dict()["0.weight"], network().state_dict()["0.weight"])
    assert module.state_dict()["1.num_batches_tracked"] == 1


def test_a_head_rate_of_0_leaves_the_head_alone() -> None:
    module, start = network(), network()
    run(module, dataclasses.replace(BASE, head_lr_factor=0.0, images_seen=24), random_batches())
    assert torch.equal(module.state_dict()["6.weight"], start.state_dict()["6.weight"])
    assert not torch.equal(module.state_dict()["0.weight"], start.state_dict()["0.weight"])


# --- the same twice ---------------------------------------------------------------------------------------------------


def test_the_same_twice_gives_the_same_bits_whatever_was_drawn_before() -> None:
    recipe = dataclasses.replace(BASE, images_seen=64, momentum=0.9)
    one, other, third = network(), network(), network()
    torch.manual_seed(123)
    first = run(one, recipe, random_batches())
    torch.manual_seed(321)
    torch.rand(1000)
    second = run(other, recipe, random_batches())
    assert states_equal(one, other)
    assert [epoch.loss for epoch in first.history] == [epoch.loss for epoch in second.history]
    run(third, recipe, random_batches(), seed=1)
    assert not states_equal(one, third)


def test_dropout_depends_on_the_step_and_not_on_what_went_before() -> None:
    seen: list[Tensor] = []

    class Probe(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append(functional.dropout(torch.ones(16), training=self.training))
            return inputs

    def masks(before: int, *, stage_index: int = 0) -> list[list[float]]:
        seen.clear()
        torch.rand(before)
        module = nn.Sequential(Probe(), nn.Flatten(), nn.Linear(27, 7))
        recipe = dataclasses.replace(BASE, images_seen=24)
        run(module, recipe, random_batches(3, 3), classifier="2", stage_index=stage_index)
        return [mask.tolist() for mask in seen]

    assert masks(0) == masks(999) != masks(0, stage_index=1)
    first, second, third = masks(0)
    assert first != second != third != first


# --- selection, history, failures -------------------------------------------------------------------------------------


def test_best_on_select_puts_the_best_epoch_back() -> None:
    answers, states = [0.2, 0.6, 0.6, 0.1], []

    def accuracy(module: nn.Module) -> float:
        module.eval()
        states.append(copy.deepcopy(module.state_dict()))
        return answers[len(states) - 1]

    module = network()
    trained = run(module, dataclasses.replace(BASE, images_seen=64), random_batches(), select_accuracy=accuracy)
    assert [epoch.select_accuracy for epoch in trained.history] == answers
    # The earlier of two equal ones.
    for name, value in module.state_dict().items():
        assert torch.equal(value, states[1][name])
    assert not torch.equal(states[3]["6.weight"], states[1]["6.weight"])


def test_looking_at_select_does_not_change_what_is_trained() -> None:
    def accuracy(module: nn.Module) -> float:
        module.eval()
        torch.rand(7)
        return 1.0 - 0.1 * next(counter)

    for trainable in ("all", "head"):
        counter = iter(range(-9, 9))
        recipe = dataclasses.replace(BASE, images_seen=64, trainable=trainable)
        looked, plain = network(), network()
        last: dict[str, Tensor] = {}

        def keep(epoch: EpochResult, module: nn.Module = looked, last: dict[str, Tensor] = last) -> None:
            last.update(copy.deepcopy(module.state_dict()))

        run(looked, recipe, random_batches(), select_accuracy=accuracy, on_epoch=keep)
        run(plain, recipe, random_batches())
        assert all(torch.equal(value, last[name]) for name, value in plain.state_dict().items())


def test_the_history_counts_images_and_its_losses_are_means() -> None:
    module, shadow = linear(), linear()
    recipe = dataclasses.replace(BASE, images_seen=40, trainable="head")
    steps = random_batches(5, 3)
    told: list[EpochResult] = []
    trained = run(module, recipe, steps, classifier="3", epoch_images=17, on_epoch=told.append)
    losses = []
    for images, labels in steps:
        losses.append(functional.cross_entropy(shadow(images), labels).item())
        run(shadow, dataclasses.replace(recipe, images_seen=8), [(images, labels)], classifier="3")
    assert [epoch.images_seen for epoch in trained.history] == [16, 32, 40] and told == list(trained.history)
    expected = [sum(losses[0:2]) / 2, sum(losses[2:4]) / 2, losses[4]]
    assert [epoch.loss for epoch in trained.history] == pytest.approx(expected, rel=1e-5)
    assert trained.images_seen == 40 and trained.train_seconds > 0


def test_only_full_batches_are_drawn_and_at_least_one() -> None:
    asked: list[int] = []

    class Counting(Fixed):
        def batch(self, step: int) -> tuple[Tensor, Tensor]:
            asked.append(step)
            return super().batch(step)

    for images_seen, steps in ((31, 3), (32, 4), (3, 1)):
        asked.clear()
        trained = train(
            linear(),
            Counting(random_batches(4, 3)),
            dataclasses.replace(BASE, images_seen=images_seen),
            classifier="3",
            epoch_images=16,
            class_counts=torch.ones(7),
            seed=0,
            stage_index=0,
            device="cpu",
        )
        assert asked == list(range(steps)) and trained.images_seen == 8 * steps


def test_time_for_select_is_not_training_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("ferbench.training.time.perf_counter", lambda: now[0])

    class Slow(Fixed):
        def batch(self, step: int) -> tuple[Tensor, Tensor]:
            now[0] += 2.0
            return super().batch(step)

    def accuracy(module: nn.Module) -> float:
        now[0] += 100.0
        return 0.5

    told: list[Progress] = []
    trained = train(
        linear(),
        Slow(random_batches(4, 3)),
        dataclasses.replace(BASE, images_seen=32),
        classifier="3",
        epoch_images=16,
        class_counts=torch.ones(7),
        seed=0,
        stage_index=0,
        device="cpu",
        select_accuracy=accuracy,
        on_progress=told.append,
    )
    assert trained.train_seconds == 8.0
    assert [epoch.images_per_second for epoch in trained.history] == [4.0, 4.0]
    assert [(p.images_seen, p.images_total, p.seconds_left) for p in told] == [
        (8, 32, 6.0),
        (16, 32, 4.0),
        (24, 32, 2.0),
        (32, 32, 0.0),
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_stage_with_advice(value: float) -> None:
    steps = random_batches(4, 3)
    steps[2][0][0] = value
    with pytest.raises(TrainingError, match=r"the loss is nan within 32 images: try a smaller --set lr"):
        run(linear(), dataclasses.replace(BASE, images_seen=64), steps, classifier="3", epoch_images=32)


def test_autocast_is_on_for_bf16_alone() -> None:
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with autocast("cpu", precision):
            assert nn.functional.linear(torch.ones(2, 4), torch.ones(3, 4)).dtype == dtype
