"""A finished run's network, against what the run has stored of its samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import Bench
from torch.nn import functional

from ferbench.data.roles import RoleReader
from ferbench.ensembles import Method, make_ensemble
from ferbench.errors import StoreError, UsageError
from ferbench.records import Run
from ferbench.settings import Settings
from ferbench.store.last_stage import members_of
from ferbench.trained import Trained, bench_of, load_trained


def settings_of(bench: Bench) -> Settings:
    return Settings(bench.store.location, bench.folder / "data", bench.folder / "cache", "cpu")


def loaded(bench: Bench, run: Run) -> Trained:
    return load_trained(run, bench.store, bench.catalog, settings_of(bench))


def reported(bench: Bench, run: Run) -> list[np.ndarray]:
    """The pictures of the report split, in the order of its stored predictions."""
    return list(RoleReader(bench.catalog.dataset, bench.folder / "data", bench.folder / "cache").report("small").images)


@pytest.mark.parametrize(
    ("strategy", "recipe"),
    [
        ("cascade", {}),
        ("target-only", {"image_size": 16, "grey": True}),  # enlarged
        ("target-only", {"image_size": 9}),  # reduced
        ("linear-probe", {"head_fit": "svm"}),
    ],
)
def test_probabilities_are_those_that_were_stored(bench: Bench, strategy: str, recipe: dict[str, object]) -> None:
    (run,) = bench.run(strategy, recipe=recipe).finished
    ((_, stored),) = bench.store.run_predictions(run.row)
    trained = loaded(bench, run)
    found = trained.probabilities(reported(bench, run))
    np.testing.assert_allclose(found, stored.probabilities, rtol=0, atol=1e-6)
    assert not trained.module.training and trained.classes[0] == "angry" and found.dtype == np.float32
    assert trained.temperature == (run.calibration.temperature if run.calibration else None)


def test_what_is_fed_is_stretched_and_normalised_whatever_stands_beside_it(bench: Bench) -> None:
    (run,) = bench.run("target-only").finished
    trained = loaded(bench, run)
    random = np.random.default_rng(0)
    shapes = ((12, 12, 3), (30, 20, 3), (5, 12, 1), (12, 12, 3), (40, 12, 1))
    images = [random.integers(0, 256, shape).astype(np.uint8) for shape in shapes]
    prepared = trained.prepared(images)
    assert prepared.shape == (5, 3, 12, 12) and prepared.dtype == torch.float32
    for image, own in zip(images, prepared, strict=True):
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        large = max(image.shape[:2]) > 12
        by_hand = functional.interpolate(pixels, (12, 12), mode="bilinear", antialias=large, align_corners=False)
        by_hand = ((by_hand.round() if large else by_hand) / 255 - 0.5) / 0.25
        assert (own - by_hand[0].expand(3, 12, 12)).abs().max() <= (1.001 / 255 / 0.25 if large else 1e-6)
        torch.testing.assert_close(own, trained.prepared([image])[0], rtol=0, atol=0)
    together, alone = trained.probabilities(images), [trained.probabilities([image])[0] for image in images]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert trained.probabilities([]).shape == (0, 7)


def test_an_ensemble_has_members_and_no_network(bench: Bench) -> None:
    runs = bench.run("target-only", seeds=(0, 1)).finished
    row = make_ensemble(bench.store, [runs[0].row], Method(over_seeds=True)).row
    ((ensemble, stored),) = bench.store.run_predictions(row)
    with pytest.raises(UsageError, match=r"is an ensemble, which has no network of its own: name one of its members"):
        loaded(bench, ensemble)
    tools = bench_of(bench.catalog, settings_of(bench))
    members = [load_trained(run, bench.store, bench.catalog, settings_of(bench), tools) for run in runs]
    images = reported(bench, runs[0])
    mean = sum(member.probabilities(images).astype(np.float64) for member in members) / 2
    np.testing.assert_allclose(mean, stored.probabilities, atol=1e-6)
    assert members_of(ensemble, bench.store) == list(runs) and members_of(runs[0], bench.store) == []


def test_a_lost_checkpoint_is_one_line(bench: Bench) -> None:
    (run,) = bench.run("target-only").finished
    path = bench.folder / "cache" / "checkpoints" / f"{run.stages[-1]}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match=rf"^row {run.row}, seed \d cannot predict: checkpoint .* is not the file"):
        loaded(bench, run)
    path.unlink()
    bench.store.mark_pruned([run.stages[-1]])
    with pytest.raises(StoreError, match=r"its checkpoint was pruned from the cache to make room; run that cell again"):
        loaded(bench, run)
