"""Grad-CAM, against the same computed by hand on a network of one convolution."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import Bench, bars, tiny_catalog
from torch import nn
from torch.nn import functional

from ferbench import Face, FaceDetector, hookimpl
from ferbench.errors import PluginError, UsageError
from ferbench.faces import cut
from ferbench.plugin_source import Plugin
from ferbench.publication.pictures import SamplePictures, png
from ferbench.publication.saliency import SaliencyPictures
from ferbench.saliency import class_activation, last_map, overlaid
from ferbench.settings import Settings
from ferbench.trained import Trained, load_trained


@pytest.fixture
def trained(bench: Bench) -> Trained:
    (run,) = bench.run("target-only").finished
    settings = Settings(bench.store.location, bench.folder / "data", bench.folder / "cache", "cpu")
    return load_trained(run, bench.store, bench.catalog, settings)


def by_hand(trained: Trained, images: list[np.ndarray], classes: list[int]) -> np.ndarray:
    """Weights are the means of d logit / d map; after the map come a mean over 2 x 2 places and one full layer."""
    maps = trained.module[:3](trained.prepared(images)).detach().numpy()
    weights = trained.module[6].weight.detach().numpy().reshape(7, 8, 6, 6)
    found = []
    for own, chosen in zip(maps, classes, strict=True):
        gradient = np.repeat(np.repeat(weights[chosen] / 4, 2, axis=1), 2, axis=2)
        found.append(np.maximum((gradient.mean(axis=(1, 2))[:, None, None] * own).sum(axis=0), 0))
    return np.array([each / each.max() if each.max() else each for each in found])


def test_a_map_is_what_it_is_by_hand(trained: Trained) -> None:
    images, classes = list(bars(5, 0)[0]), [0, 3, 3, 6, 1]
    found = class_activation(trained, images, classes)
    assert found.shape == (5, 12, 12) and found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(trained, images, classes), atol=1e-5)
    # Another size of picture has a map of the network's view of it.
    larger = [np.repeat(np.repeat(image, 3, axis=0), 2, axis=1) for image in images]
    of_larger = class_activation(trained, larger, classes)
    np.testing.assert_allclose(of_larger, by_hand(trained, larger, classes), atol=1e-5)
    assert class_activation(trained, [], []).shape == (0, 12, 12)
    # Nothing of it stays in the network.
    assert all(parameter.grad is None for parameter in trained.module.parameters())
    assert not any(part._forward_hooks for part in trained.module.modules())


def test_where_nothing_speaks_for_a_class_the_map_is_zero(trained: Trained) -> None:
    with torch.no_grad():
        trained.module[6].weight.abs_().neg_()
    assert not class_activation(trained, list(bars(2, 0)[0]), [0, 1]).any()


def test_an_svm_head_has_a_map(bench: Bench) -> None:
    (run,) = bench.run("linear-probe", recipe={"head_fit": "svm"}).finished
    settings = Settings(bench.store.location, bench.folder / "data", bench.folder / "cache", "cpu")
    trained = load_trained(run, bench.store, bench.catalog, settings)
    images, classes = list(bars(3, 0)[0]), [0, 1, 2]
    # The sigmoid scales each gradient as a whole, which the map's own scale takes out.
    np.testing.assert_allclose(class_activation(trained, images, classes), by_hand(trained, images, classes), atol=1e-4)


def test_on_a_site_a_row_of_faces_is_explained_by_what_it_was_shown(make_bench: Callable[..., Bench]) -> None:
    detector = FaceDetector("middle", 1, lambda image: [Face((2, 3, 7, 7), 0.9)])
    catalog = tiny_catalog()
    plugin = SimpleNamespace(ferbench_register_face_detectors=hookimpl(lambda: [detector]))
    catalog.add(Plugin("middle", "tests", plugin))
    bench = make_bench("faces", catalog)
    (run,) = bench.run("target-only", recipe={"faces": "crop", "face_detector": "middle"}).finished
    settings = Settings(bench.store.location, bench.folder / "data", bench.folder / "cache", "cpu")
    pictures = SamplePictures(catalog, bench.folder / "data", bench.folder / "cache")
    warned: list[str] = []
    answers = bench.store.run_predictions(run.row)
    ((_, said),) = answers
    made = SaliencyPictures(bench.store, catalog, settings, pictures, warned.append).of(answers, [4, 1])
    network = load_trained(run, bench.store, catalog, settings)
    (face,) = detector.detect(np.zeros((12, 12, 3), np.uint8))
    shown = [cut(image, face, "crop", 12) for image in pictures.images(run, [4, 1])]
    # Cut so, they are answered as the row has stored it.
    np.testing.assert_allclose(network.probabilities(shown), said.probabilities[[4, 1]], atol=1e-6)
    maps = class_activation(network, shown, said.probabilities[[4, 1]].argmax(axis=1).tolist())
    expected = {said.ids[place]: png(overlaid(*pair)) for place, *pair in zip([4, 1], shown, maps, strict=True)}
    assert made == expected and warned == []
    # Nothing is shown of what another detector finds, nor of a sample in which nothing speaks for its answer.
    newer = tiny_catalog()
    others = [dataclasses.replace(detector, version=2)]
    newer.add(Plugin("middle", "tests", SimpleNamespace(ferbench_register_face_detectors=hookimpl(lambda: others))))
    assert SaliencyPictures(bench.store, newer, settings, pictures, warned.append).of(answers, [4]) == {}
    assert len(warned) == 1 and "faces were found by middle 1, which is not here" in warned[0]


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.relu(pixels + self.relu(self.inner(pixels)))


class _Patches(nn.Module):
    """What a transformer does: patches by a convolution, then full layers over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, stride=4)
        self.mixing = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
        self.head = nn.Linear(4, 7)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.mixing(self.patches(pixels).flatten(2).transpose(1, 2)).mean(dim=1))


def test_the_map_is_taken_behind_the_last_convolution() -> None:
    example = torch.zeros(1, 3, 16, 16)
    residual = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), _Residual(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert last_map(residual, example, "b") is residual[1]  # after the addition; its ReLU is used twice
    convolutions = (nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU())
    shrinking = nn.Sequential(*convolutions, nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 2), nn.Flatten())
    assert last_map(shrinking, example, "b") is shrinking[3]  # the third leaves 2 x 2 places, the last one
    for network in (_Patches(), nn.Sequential(nn.Flatten(), nn.Linear(768, 7))):
        with pytest.raises(PluginError, match=r"^backbone vit does not end in convolutions, so that Grad-CAM has no"):
            last_map(network, example, "vit")


def test_a_picture_under_its_map() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    ramp = np.linspace(0, 1, 8, dtype=np.float32)[None, :].repeat(8, axis=0)
    shown = overlaid(image, ramp)
    assert shown.shape == (20, 30, 3) and shown.dtype == np.uint8
    light = overlaid(np.full((20, 30, 1), 128, np.uint8), ramp).mean(axis=(0, 2))
    assert (np.diff(light) >= 0).all() and light[-1] > light[0] + 60
    stretched = functional.interpolate(torch.from_numpy(ramp)[None, None], (20, 30), mode="bilinear")[0, 0]
    zero = int(stretched[0].argmin())
    np.testing.assert_allclose(shown[:, zero].mean(axis=1), 0.6 * image[:, zero].mean(axis=1), atol=2.5)


def test_without_captum_it_is_one_line(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(UsageError, match=r"not installed: pip install 'ferbench\[explain\]'$"):
        class_activation(dataclasses.replace(trained), list(bars(1, 0)[0]), [0])
