"""One stage from start to end, without engine or store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import CLASSES, bar_dataset, tiny_backbone
from torch import nn

from ferbench.checkpoints import Checkpoints
from ferbench.components import Backbone, Dataset
from ferbench.data.roles import RoleReader
from ferbench.errors import CheckpointError, DatasetError, PluginError, RecipeError, TrainingError, WeightsError
from ferbench.recipes import Recipe
from ferbench.records import StageResult
from ferbench.stages import RANDOM_WEIGHTS, InitialWeights, Stage, TrainingPart
from ferbench.state_dicts import file_sha256
from ferbench.workbench import Workbench
from ferbench.worker import Evaluation, StageOutcome, StageTask, built, evaluated, run_stage

RECIPE = Recipe(images_seen=64, batch_size=8, image_size=12, augment="standard", lr=0.05, precision="fp32")
REPORT = (Evaluation("small", "report"),)


def stage(name: str = "a" * 64, **changes: object) -> Stage:
    base = Stage(
        fingerprint=name,
        index=0,
        backbone="tiny",
        weights=RANDOM_WEIGHTS,
        parts=(TrainingPart("big", "tr", "", 56),),
        classes=CLASSES,
        recipe=RECIPE,
        seed=0,
        parent=None,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def of(dataset: str, what: Stage, **changes: object) -> Stage:
    """The same stage on another dataset."""
    return dataclasses.replace(what, parts=(TrainingPart(dataset, "tr", "", 56),), **changes)  # type: ignore[arg-type]


@dataclasses.dataclass
class Hand:
    """A workbench with the components it knows."""

    folder: Path
    backbones: dict[str, Backbone]
    datasets: dict[str, Dataset]

    def __post_init__(self) -> None:
        roles = RoleReader(self.datasets.__getitem__, self.folder / "data", self.folder / "cache")
        self.checkpoints = Checkpoints(self.folder / "cache")
        self.bench = Workbench(self.backbones.__getitem__, roles, self.folder / "cache", "cpu")

    def run(
        self,
        what: Stage,
        evaluations: tuple[Evaluation, ...] = REPORT,
        parent: StageResult | None = None,
        trained: StageResult | None = None,
    ) -> StageOutcome:
        task = StageTask(what, "basic7", evaluations, trained)
        return run_stage(task, self.bench, lambda progress: None, lambda epoch: None, parent)

    def state(self, what: Stage) -> dict[str, torch.Tensor]:
        return self.checkpoints.load(what.fingerprint)


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    datasets = [bar_dataset("big", 1), bar_dataset("small", 2, groups=True)]
    return Hand(tmp_path, {"tiny": tiny_backbone()}, {dataset.name: dataset for dataset in datasets})


def head_of(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return state["6.weight"]


def test_a_stage_leaves_a_checkpoint_a_result_and_predictions(hand: Hand) -> None:
    outcome = hand.run(stage(), evaluations=(Evaluation("small", "select"), Evaluation("small", "report")))
    result = outcome.result
    assert (result.fingerprint, result.images_seen, result.device) == ("a" * 64, 64, "cpu")
    assert result.checkpoint_sha256 == file_sha256(hand.checkpoints.path("a" * 64))
    assert result.parameters == sum(p.numel() for p in tiny_backbone().build(7, 12).parameters())
    assert result.peak_memory_bytes > 1e6 and result.train_seconds > 0 and result.absent_classes == ()
    assert result.images_per_second == pytest.approx(64 / result.train_seconds)
    for (evaluation, predictions), role in zip(outcome.predictions, ("select", "report"), strict=True):
        assert evaluation == Evaluation("small", role)  # type: ignore[arg-type]
        samples = evaluated(hand.bench.roles, evaluation, "basic7")
        assert (predictions.dataset, predictions.split) == ("small", samples.splits)
        assert (predictions.ids, predictions.groups) == (samples.ids, samples.groups)
        np.testing.assert_array_equal(predictions.labels, samples.labels)
        assert predictions.probabilities.shape == (samples.count, 7)
        np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-6)


def test_the_same_stage_twice_is_the_same_file(hand: Hand, tmp_path: Path) -> None:
    first = hand.run(stage())
    torch.manual_seed(4321)
    other = Hand(tmp_path / "other", hand.backbones, hand.datasets).run(stage())
    assert first.result.checkpoint_sha256 == other.result.checkpoint_sha256
    for (_, one), (_, two) in zip(first.predictions, other.predictions, strict=True):
        np.testing.assert_array_equal(one.probabilities, two.probabilities)
    assert hand.run(stage(seed=1)).result.checkpoint_sha256 != first.result.checkpoint_sha256


def test_predicting_again_from_the_checkpoint_gives_the_same_bits(hand: Hand) -> None:
    first = hand.run(stage())
    again = hand.run(stage(), trained=first.result)
    assert again.result is first.result
    np.testing.assert_array_equal(again.predictions[0][1].probabilities, first.predictions[0][1].probabilities)


def test_a_checkpoint_that_is_not_the_stored_one_is_refused(hand: Hand) -> None:
    first = hand.run(stage())
    hand.checkpoints.save("a" * 64, tiny_backbone().build(7, 12))
    with pytest.raises(CheckpointError, match="not the file that was stored"):
        hand.run(stage(), trained=first.result)
    child = stage("b" * 64, index=1, parent="a" * 64)
    with pytest.raises(CheckpointError, match="not the file that was stored"):
        hand.run(of("small", child), parent=first.result)


# --- where a stage starts ---------------------------------------------------------------------------------------------


def frozen(**changes: object) -> Recipe:
    """A recipe that moves nothing at all: what comes out is what it started from."""
    return dataclasses.replace(RECIPE, trainable="head", lr=0.0, weight_decay=0.0, images_seen=8, **changes)  # type: ignore[arg-type]


def test_a_child_goes_on_from_its_parent_and_keeps_the_head(hand: Hand) -> None:
    first = hand.run(stage())
    child = stage("b" * 64, index=1, parent="a" * 64, recipe=frozen())
    hand.run(of("small", child), parent=first.result)
    before, after = hand.state(stage()), hand.state(child)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_new_head_is_drawn_anew_and_the_body_stays(hand: Hand) -> None:
    first = hand.run(stage())
    child = stage("b" * 64, index=1, parent="a" * 64, recipe=frozen(head="new"))
    hand.run(of("small", child), parent=first.result)
    before, after = hand.state(stage()), hand.state(child)
    for name in before:
        assert torch.equal(before[name], after[name]) == (not name.startswith("6.")), name
    # Neither the head that the chain started with, nor another one the next time.
    assert not torch.equal(
        head_of(after), head_of(dict(built(tiny_backbone(), stage(), "initialisation").state_dict()))
    )
    hand.run(of("small", child, fingerprint="c" * 64), parent=first.result)
    assert hand.checkpoints.load("c" * 64).keys() == after.keys()
    assert torch.equal(head_of(hand.checkpoints.load("c" * 64)), head_of(after))


def test_all_chains_of_a_seed_start_from_the_same_head(hand: Hand, tmp_path: Path) -> None:
    pretrained = tiny_backbone().build(1000, 12)
    path = tmp_path / "weights.safetensors"
    save_file(pretrained.state_dict(), path)
    weights = InitialWeights(file_sha256(path), "a file", str(path))
    random, loaded = stage(recipe=frozen()), stage("b" * 64, weights=weights, recipe=frozen())
    hand.run(random)
    hand.run(loaded)
    assert torch.equal(head_of(hand.state(random)), head_of(hand.state(loaded)))
    assert torch.equal(hand.state(loaded)["0.weight"], pretrained.state_dict()["0.weight"])
    other = stage("c" * 64, seed=1, recipe=frozen())
    hand.run(other)
    assert not torch.equal(head_of(hand.state(other)), head_of(hand.state(random)))


def test_a_module_depends_on_seed_purpose_and_stage_alone() -> None:
    def head(seed: int = 0, purpose: str = "initialisation", index: int = 0) -> torch.Tensor:
        return head_of(dict(built(tiny_backbone(), stage(seed=seed), purpose, index).state_dict()))

    torch.manual_seed(1)
    first = head()
    torch.manual_seed(2)
    assert torch.equal(first, head())
    for other in (head(seed=1), head(purpose="head"), head(index=1)):
        assert not torch.equal(first, other)


# --- policies and failures --------------------------------------------------------------------------------------------


def test_best_on_select_looks_at_the_datasets_that_are_trained_on(hand: Hand) -> None:
    recipe = dataclasses.replace(RECIPE, checkpoint="best-on-select", images_seen=560, lr=0.3)
    mixed = stage(recipe=recipe, parts=(TrainingPart("big", "tr", "", 56), TrainingPart("small", "tr", "", 56)))
    wanted = (Evaluation("big", "select"), Evaluation("small", "select"))
    outcome = hand.run(mixed, wanted)
    hits = sum(int((p.probabilities.argmax(axis=1) == p.labels).sum()) for _, p in outcome.predictions)
    # 21 select samples of each; an epoch is a pass over both.
    best = max(epoch.select_accuracy or 0 for epoch in outcome.result.history)
    assert len(outcome.result.history) == 5 and hits / 42 == pytest.approx(best)


def test_classes_without_training_samples_are_named(hand: Hand) -> None:
    few = bar_dataset("few", 5, counts=(5, 21, 35))
    hand.datasets["few"] = few
    assert hand.run(of("few", stage())).result.absent_classes == ("surprise", "neutral")


def test_data_whose_labels_are_withheld_cannot_be_trained_on(hand: Hand) -> None:
    secret = bar_dataset("secret", 6)
    load = secret.load
    hand.datasets["secret"] = dataclasses.replace(
        secret, load=lambda split, root: dataclasses.replace(load(split, root), labels=None)
    )
    with pytest.raises(DatasetError, match="dataset 'secret': the labels of tr are withheld"):
        hand.run(of("secret", stage()))
    # But it can be predicted.
    outcome = hand.run(stage(), evaluations=(Evaluation("secret", "report"),))
    assert outcome.predictions[0][1].labels is None


def test_a_head_that_is_not_there_is_the_plugins_fault(hand: Hand) -> None:
    hand.backbones["odd"] = dataclasses.replace(tiny_backbone("odd"), classifier="fc")
    with pytest.raises(PluginError, match="backbone 'odd' names a head 'fc' that it lacks"):
        hand.run(stage(backbone="odd"))


def test_weights_of_another_network_are_refused(hand: Hand, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(nn.Linear(3, 3).state_dict(), path)
    with pytest.raises(WeightsError, match="do not fit"):
        hand.run(stage(weights=InitialWeights(file_sha256(path), "a file", str(path))))


def test_a_last_step_that_ruins_the_weights_is_a_failure_and_not_a_row(hand: Hand) -> None:
    # Four steps: the last loss is finite, and only what is predicted afterwards shows it.
    ruin = dataclasses.replace(RECIPE, images_seen=32, lr=1000.0, weight_decay=1000.0, schedule="constant")
    with pytest.raises(TrainingError, match="answers with NaN: try a smaller --set lr"):
        hand.run(stage(recipe=ruin))


# --- a machine on frozen features -------------------------------------------------------------------------------------

SVM = dataclasses.replace(RECIPE, trainable="head", head_fit="svm", augment="none", images_seen=56)


def test_a_machine_on_frozen_features_answers_as_scikit_learn_does(hand: Hand) -> None:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    outcome = hand.run(stage(recipe=SVM))
    assert (outcome.result.images_seen, outcome.result.history) == (56, ())
    assert outcome.result.parameters == 8 * 27 + 8 + 16 + 288 * 7 + 7
    # Features of the frozen rest by hand: what stands before the head, in evaluation mode.
    body = built(tiny_backbone(), stage(), "initialisation")[:-1].eval()
    pixels = {}
    for role, reference in (("train", "big"), ("report", "small")):
        samples = getattr(hand.bench.roles, role)(reference)
        images = torch.from_numpy(np.stack(list(samples.images))).permute(0, 3, 1, 2).float().expand(-1, 3, -1, -1)
        pixels[role] = body((images / 255 - 0.5) / 0.25).detach().numpy(), samples.labels
    features, labels = pixels["train"]
    best = 0.0
    for c in (1e-2 / 288, 1e-1 / 288, 1 / 288, 10 / 288, 100 / 288):
        machine = CalibratedClassifierCV(LinearSVC(C=c), cv=StratifiedKFold(5), ensemble=False)
        peer = make_pipeline(StandardScaler(), machine).fit(features, labels)
        found = peer.predict_proba(pixels["report"][0])
        best = max(best, float((found.argmax(axis=1) == pixels["report"][1]).mean()))
    predictions = outcome.predictions[0][1]
    ours = (predictions.probabilities.argmax(axis=1) == predictions.labels).mean()
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert best > 0.4 and ours >= best - 0.12


def test_a_machine_is_loaded_again_and_goes_on_by_steps(hand: Hand) -> None:
    first = hand.run(stage(recipe=SVM))
    again = hand.run(stage(recipe=SVM), trained=first.result)
    assert (first.predictions[0][1].probabilities == again.predictions[0][1].probabilities).all()
    child = stage("b" * 64, index=1, parent="a" * 64, recipe=dataclasses.replace(RECIPE, lr=1e-6, images_seen=8))
    hand.run(child, parent=first.result)
    torch.testing.assert_close(head_of(hand.state(child)), head_of(hand.state(stage())), rtol=0, atol=1e-4)


def test_a_head_that_is_no_linear_layer_takes_no_machine(hand: Hand) -> None:
    def build(num_classes: int, image_size: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, num_classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    hand.backbones["odd"] = dataclasses.replace(tiny_backbone("odd"), build=build, classifier="0")
    with pytest.raises(RecipeError, match="one linear layer on one vector an image, and 0 is a Conv2d"):
        hand.run(stage(backbone="odd", recipe=SVM))


def test_part_of_the_data_is_what_a_stage_trains_on(hand: Hand) -> None:
    few = dataclasses.replace(stage().parts[0], fraction=0.25)
    outcome = hand.run(stage(recipe=SVM, parts=(few,)))
    assert outcome.result.images_seen == 14


def test_placed_images_are_kept_by_content_size_and_colour(hand: Hand) -> None:
    samples = hand.bench.roles.train("big")
    first = hand.bench.placed(samples, 12, False)
    assert hand.bench.placed(samples, 12, False) is first
    assert hand.bench.placed(samples, 12, True) is not first and hand.bench.placed(samples, 10, False) is not first
    for size in range(4, 12):
        hand.bench.placed(samples, size, False)
    # The least recently used went; what is asked for again is made again.
    assert len(hand.bench._placed) == 8 and hand.bench.placed(samples, 12, False) is not first


def greedy_backbone(most: int, kind: type[Exception] = torch.OutOfMemoryError) -> Backbone:
    """A backbone that has memory for so many images at once while it is trained."""

    class Greedy(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if torch.is_grad_enabled() and len(images) > most:
                raise kind("CUDA out of memory. Tried to allocate 20.00 GiB")
            return images

    def build(num_classes: int, image_size: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), Greedy(), nn.Flatten(), nn.Linear(400, num_classes))

    return dataclasses.replace(tiny_backbone("greedy"), build=build, classifier="3")


@pytest.mark.parametrize(("kind", "imbalance"), [(torch.OutOfMemoryError, "none"), (RuntimeError, "weighted")])
def test_too_little_memory_halves_the_micro_batch_and_keeps_the_batch(
    hand: Hand, kind: type[Exception], imbalance: str
) -> None:
    recipe = dataclasses.replace(RECIPE, imbalance=imbalance, label_smoothing=0.1)
    hand.backbones["greedy"] = greedy_backbone(3, kind)
    small = hand.run(stage("a" * 64, backbone="greedy", recipe=recipe)).result
    hand.backbones["greedy"] = greedy_backbone(8)
    hand.bench._micro_batches.clear()
    whole = hand.run(stage("b" * 64, backbone="greedy", recipe=recipe)).result
    assert (small.micro_batch, whole.micro_batch) == (2, 8)
    assert small.notes == ("micro-batch 2 of 8: the device's memory holds no more",) and whole.notes == ()
    # Without BatchNorm and dropout, sums of parts are the sum of the whole.
    ours, other = hand.checkpoints.load("a" * 64), hand.checkpoints.load("b" * 64)
    for name, value in other.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-5)
    assert [epoch.loss for epoch in small.history] == pytest.approx([e.loss for e in whole.history], rel=1e-4)


def test_what_did_not_fit_is_not_tried_again(hand: Hand) -> None:
    hand.backbones["greedy"] = greedy_backbone(3)
    hand.run(stage("a" * 64, backbone="greedy"))
    hand.backbones["greedy"] = greedy_backbone(8)
    assert hand.run(stage("b" * 64, backbone="greedy", seed=1)).result.micro_batch == 2


def test_one_image_that_does_not_fit_is_a_failure(hand: Hand) -> None:
    hand.backbones["greedy"] = greedy_backbone(0)
    with pytest.raises(torch.OutOfMemoryError):
        hand.run(stage(backbone="greedy"))


ON_FEATURES = dataclasses.replace(RECIPE, trainable="head", augment="none")


@pytest.mark.parametrize("augment", ["none", "flip"])
@pytest.mark.parametrize("trainable", ["head", "4"])
def test_features_computed_once_give_what_the_whole_network_gives(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, trainable: str, augment: str
) -> None:
    # Each picture is seen twice in each view.
    recipe = dataclasses.replace(ON_FEATURES, trainable=trainable, augment=augment, images_seen=224)
    ours = hand.run(stage("a" * 64, recipe=recipe))
    assert stage(recipe=recipe).feature_images == 56 * (2 if augment == "flip" else 1)
    assert ours.result.features_per_second is not None
    assert ours.result.train_seconds > ours.result.feature_seconds > 0
    monkeypatch.setattr("ferbench.fitting.frozen_prefix", lambda *given: None)
    other = hand.run(stage("b" * 64, recipe=recipe))
    assert other.result.features_per_second is None
    state, whole = hand.checkpoints.load("a" * 64), hand.checkpoints.load("b" * 64)
    for name, value in whole.items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-5)
    one, two = (outcome.predictions[0][1].probabilities for outcome in (ours, other))
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)


def test_features_are_shared_by_stages_that_leave_the_same_part_as_it_is(hand: Hand) -> None:
    first = hand.run(stage("a" * 64, recipe=ON_FEATURES)).result
    again = hand.run(stage("b" * 64, recipe=dataclasses.replace(ON_FEATURES, lr=0.01))).result
    assert first.spent_seconds is not None and again.spent_seconds is not None
    assert again.feature_seconds == first.feature_seconds > 0
    # Stand-alone cost counts them in full; what was spent does not.
    assert again.spent_seconds == pytest.approx(again.train_seconds - again.feature_seconds)
    assert first.spent_seconds == pytest.approx(first.train_seconds)
    other_seed = hand.run(stage("c" * 64, recipe=ON_FEATURES, seed=1)).result
    assert other_seed.feature_seconds != first.feature_seconds


def test_features_of_a_chain_that_leaves_a_part_as_it_was_are_shared_by_seeds(hand: Hand, tmp_path: Path) -> None:
    path = tmp_path / "imagenet.safetensors"
    save_file(tiny_backbone().build(7, 12).state_dict(), path)
    weights = InitialWeights(file_sha256(path), "a file", str(path))
    found = []
    for seed, names in enumerate(("ab", "cd")):
        first = stage(names[0] * 64, seed=seed, weights=weights, recipe=ON_FEATURES)
        parent = hand.run(first).result
        then = of("small", first, fingerprint=names[1] * 64, index=1, parent=names[0] * 64)
        found.append((parent, hand.run(then, parent=parent).result))
    for one, two in zip(*found, strict=True):
        assert one.checkpoint_sha256 != two.checkpoint_sha256
        # The same measurement, so they were computed once.
        assert one.feature_seconds == two.feature_seconds > 0


def test_few_images_are_not_worth_features(hand: Hand) -> None:
    few = stage(recipe=dataclasses.replace(ON_FEATURES, images_seen=48))
    assert few.feature_images == 0 and hand.run(few).result.features_per_second is None


def test_a_stage_on_features_goes_on_where_it_was_stopped(hand: Hand, tmp_path: Path) -> None:
    undisturbed = hand.run(stage("a" * 64, recipe=ON_FEATURES))
    steps = iter(range(100))
    hand.bench.stop = lambda: next(steps) == 4
    with pytest.raises(KeyboardInterrupt):
        hand.run(stage("b" * 64, recipe=ON_FEATURES))
    hand.bench.stop = lambda: False
    assert hand.bench.partials.load("b" * 64) is not None
    went_on = hand.run(stage("b" * 64, recipe=ON_FEATURES))
    assert went_on.result.resumed_at == 40
    assert np.array_equal(went_on.predictions[0][1].probabilities, undisturbed.predictions[0][1].probabilities)
    # It goes when the driver has stored the result.
    assert hand.bench.partials.load("b" * 64) is not None


@pytest.mark.parametrize("change", ["threads", "micro-batch", "deterministic"])
def test_what_was_begun_elsewhere_begins_anew(hand: Hand, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    steps = iter(range(100))
    hand.bench.stop = lambda: next(steps) == 4
    with pytest.raises(KeyboardInterrupt):
        hand.run(stage())
    hand.bench.stop = lambda: False
    if change == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    elif change == "deterministic":
        hand.bench.deterministic = True
    else:
        hand.bench.set_micro_batch(stage(), 4)
    assert hand.run(stage()).result.resumed_at == 0


def test_a_stage_that_cannot_be_kept_is_trained_all_the_same(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = hand.run(stage("a" * 64))
    told: list[str] = []
    hand.bench.warn, hand.bench.keep_every_seconds = told.append, 0.0

    def full(*given: object) -> None:
        raise CheckpointError("partial checkpoint of 3 MB cannot be written: No space left on device")

    monkeypatch.setattr(hand.bench.partials, "save", full)
    outcome = hand.run(stage("b" * 64))
    assert np.array_equal(outcome.predictions[0][1].probabilities, undisturbed.predictions[0][1].probabilities)
    assert told and "could not be kept in the middle of its training: partial checkpoint of 3 MB" in told[0]
    hand.bench.stop = lambda: True
    with pytest.raises(KeyboardInterrupt):
        hand.run(stage("c" * 64))


def test_what_others_have_left_on_the_device_goes_before_a_batch_is_halved(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[int] = []
    monkeypatch.setattr("ferbench.worker.release_memory", lambda device: released.append(len(hand.bench._placed)))
    tries: list[int] = []

    class Crowded(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            tries.append(len(images))
            if torch.is_grad_enabled() and not released:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return images

    def build(num_classes: int, image_size: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), Crowded(), nn.Flatten(), nn.Linear(400, num_classes))

    hand.bench.placed(hand.bench.roles.train("small"), 12, False)
    hand.backbones["crowded"] = dataclasses.replace(tiny_backbone("crowded"), build=build, classifier="3")
    result = hand.run(stage(backbone="crowded")).result
    assert (result.micro_batch, result.notes) == (8, ()) and released == [0] and tries[:2] == [8, 8]


def test_predicting_a_head_again_gives_the_same_bits(hand: Hand) -> None:
    first = hand.run(stage(recipe=ON_FEATURES))
    again = hand.run(stage(recipe=ON_FEATURES), trained=first.result)
    assert np.array_equal(first.predictions[0][1].probabilities, again.predictions[0][1].probabilities)
