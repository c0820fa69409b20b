"""Backbones in two parts, against the whole ones."""

from __future__ import annotations

import copy
from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ferbench.catalog import Catalog
from ferbench.errors import RecipeError
from ferbench.features.frozen_prefix import CaughtInput, FrozenPrefix, NotCaught, frozen_prefix
from ferbench.trainable import trained_modules, trained_part


def noise(count: int, size: int, seed: int = 0) -> Tensor:
    images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
    return images.contiguous(memory_format=torch.channels_last)


def cut(module: nn.Module, classifier: str, trainable: str, size: int = 12) -> FrozenPrefix:
    prefix = frozen_prefix(module, classifier, trainable, noise(2, size))
    assert prefix is not None
    return prefix


@lru_cache(maxsize=1)
def backbone(name: str, size: int) -> tuple[nn.Module, str]:
    """A backbone with random weights, and its head's name; drawing a hundred million weights takes seconds."""
    found = Catalog.load().backbone(name)
    torch.manual_seed(0)
    return found.build(7, size).to(memory_format=torch.channels_last), found.classifier  # type: ignore[call-overload]


class Small(nn.Module):
    """A stem, two blocks of which the second one has a residual, and a head, with dropout and BatchNorm in them."""

    def __init__(self, num_classes: int = 7) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(8, 1, 1))
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.3))
        self.head = nn.Linear(8, num_classes)
        self.drop_rate = 0.2

    def body(self, images: Tensor) -> Tensor:
        found = self.first(self.stem(images) * self.scale)
        found = functional.relu_(found + self.second(found))
        return functional.dropout(found.mean((2, 3)), self.drop_rate, self.training)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(images))
        return out


@pytest.fixture
def small() -> Small:
    torch.manual_seed(1)
    module = Small()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.5, 0.5)
            part.running_var.uniform_(0.5, 2.0)
    return module.to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "size", "trainable", "shape"),
    [
        ("alexnet", 64, "head", (4096,)),
        ("alexnet", 64, "classifier", (9216,)),
        ("alexnet", 64, "features.10", (256, 3, 3)),
        ("vgg11", 48, "head", (4096,)),
        ("vgg11", 48, "pre_logits.fc2", (4096, 1, 1)),
        ("tv/resnet18", 48, "head", (512,)),
        ("tv/resnet18", 48, "layer4", (256, 3, 3)),
        ("tv/resnet18", 48, "layer4.1", (512, 2, 2)),
        ("tv/mobilenet_v3_small", 64, "head", (1024,)),
        ("tv/mobilenet_v3_small", 64, "features.12", (96, 2, 2)),
        ("timm/resnet10t", 48, "head", (512,)),
        ("timm/resnet10t", 48, "layer4", (256, 3, 3)),
    ],
)
def test_both_parts_of_a_backbone_are_the_whole(name: str, size: int, trainable: str, shape: tuple[int, ...]) -> None:
    module, classifier = backbone(name, size)
    prefix = cut(module, classifier, trainable, size)
    images = noise(3, size, seed=5)
    features = prefix.features(images)
    assert features.shape == (3, *shape)
    assert prefix.bytes_an_image == 4 * features[0].numel()
    assert not features.requires_grad
    if features.ndim == 4:
        assert features.is_contiguous(memory_format=torch.channels_last)
    module.eval()
    prefix.rest.eval()
    with torch.no_grad():
        torch.testing.assert_close(prefix.rest(features), module(images))
    # The parameters are those of the whole, and of what is trained in it alone.
    trained = {
        id(parameter)
        for part in trained_modules(module, classifier, trainable)
        for parameter in module.get_submodule(part).parameters(recurse=False)
    }
    assert {id(parameter) for parameter in prefix.rest.parameters()} == trained
    assert prefix.rest.get_submodule(prefix.classifier) is module.get_submodule(classifier)


@pytest.mark.parametrize("trainable", ["head", "second"])
def test_one_step_on_the_rest_is_one_on_the_whole(small: Small, trainable: str) -> None:
    whole = copy.deepcopy(small)
    images, labels = noise(6, 12, seed=3), torch.arange(6)

    def step(module: nn.Module, classifier: str, what: str, inputs: Tensor) -> None:
        part = trained_part(module, classifier, what)
        optimizer = torch.optim.SGD([*part.body, *part.head], lr=0.5)
        torch.manual_seed(9)
        functional.cross_entropy(module(inputs), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    step(whole, "head", trainable, images)
    prefix = cut(small, "head", trainable)
    before = copy.deepcopy(small.state_dict())
    step(prefix.rest, prefix.classifier, "all", prefix.features(images))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(small.state_dict()[name], value)
    changed = {name for name, value in before.items() if not torch.equal(value, small.state_dict()[name])}
    # BatchNorm behind the cut has moved with the batch, and that before it has not.
    assert (
        changed
        == {
            "head": {"head.weight", "head.bias"},
            "second": {f"second.0.{own}" for own in ("weight", "bias")}
            | {f"second.1.{own}" for own in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
            | {"head.weight", "head.bias"},
        }[trainable]
    )


def test_the_prefix_is_in_eval_mode_and_leaves_the_rest_in_its_own(small: Small) -> None:
    small.train()
    prefix = cut(small, "head", "second")
    assert all(part.training for part in small.modules())
    prefix.rest.train()
    assert torch.equal(prefix.features(noise(2, 12)), prefix.features(noise(2, 12)))
    assert all(part.training for part in prefix.rest.modules())
    caught = cut(small, "head", "head")
    caught.rest.train()
    assert torch.equal(caught.features(noise(2, 12)), caught.features(noise(2, 12)))
    assert small.head.training
    assert not small.first[1].training


def test_the_hash_is_of_every_frozen_tensor_and_of_nothing_else(small: Small) -> None:
    for trainable, frozen in (("head", "stem first second scale"), ("second", "stem first scale")):
        prefixes = set(frozen.split())
        known = cut(small, "head", trainable).state_sha256
        hashes = {known}
        for name in small.state_dict():
            changed = copy.deepcopy(small)
            value = changed.state_dict()[name]
            value[(0,) * value.ndim] += 1
            found = cut(changed, "head", trainable).state_sha256
            if name.split(".")[0] in prefixes:
                assert found not in hashes, name
                hashes.add(found)
            else:
                assert found == known, name


def test_the_hash_tells_cuts_and_networks_with_equal_tensors_apart(small: Small) -> None:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    module = nn.Sequential(*body, nn.Dropout(), nn.Linear(100, 7))
    other = nn.Sequential(body[0], nn.GELU(), *body[2:], nn.Dropout(), module[5])
    wider = nn.Sequential(*body, nn.Dropout(), nn.Linear(100, 8))
    found = [
        cut(module, "5", "head").state_sha256,
        cut(module, "5", "4").state_sha256,
        cut(module, "5", "3").state_sha256,
        cut(other, "5", "head").state_sha256,
    ]
    assert len(set(found)) == 4
    # How many classes the head has is no matter to the features.
    assert cut(wider, "5", "head").state_sha256 == found[0]


class CalledTwice(Small):
    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = (self.head(self.body(images)) + self.head(self.body(images.flip(3)))) / 2
        return out


class Followed(Small):
    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(images)) * 2
        return out


class NotCalled(Small):
    def forward(self, images: Tensor) -> Tensor:
        return functional.linear(self.body(images), self.head.weight)


class Asking(Small):
    """Takes a way that depends on the images."""

    def forward(self, images: Tensor) -> Tensor:
        found = self.first(self.stem(images))
        if found.mean() > 0:
            found = self.second(found)
        out: Tensor = self.head(found.mean((2, 3)))
        return out


class Tied(Small):
    def __init__(self) -> None:
        super().__init__()
        self.second[0].weight = self.first[0].weight


class Measuring(Small):
    """Takes a way that depends on the images' size, and has more inputs than images."""

    def forward(self, images: Tensor, again: bool = False, mask: Tensor | None = None) -> Tensor:
        found = self.first(self.stem(images))
        if found.shape[-1] > 8 and found.size(2) < 100:
            found = functional.max_pool2d(found, 2)
        for _ in range(2 if again else 1):
            found = self.second(found)
        if mask is not None:
            found = found * mask
        out: Tensor = self.head(found.mean((2, 3)))
        return out


@pytest.mark.parametrize(("kind", "times"), [(CalledTwice, 2), (NotCalled, 0)])
def test_a_head_that_is_not_called_once_is_not_caught(kind: type[Small], times: int) -> None:
    module = kind()
    with pytest.raises(NotCaught, match=f"head is called {times} times"):
        CaughtInput(module, "head").features(noise(2, 12))
    # The hook is gone.
    assert module.eval()(noise(2, 12)).shape == (2, 7)


@pytest.mark.parametrize("kind", [Followed, NotCalled])
def test_what_is_not_the_heads_input_alone_is_found_by_tracing(kind: type[Small]) -> None:
    module = kind()
    prefix = cut(module, "head", "head")
    assert prefix.rest is not module.head
    assert {id(each) for each in prefix.rest.parameters()} <= {id(each) for each in module.head.parameters()}
    module.eval()
    prefix.rest.eval()
    torch.testing.assert_close(prefix.rest(prefix.features(noise(3, 12))), module(noise(3, 12)))


def test_ways_that_hang_on_sizes_are_taken_as_they_go_for_the_example() -> None:
    module = Measuring()
    prefix = cut(module, "head", "second")
    assert prefix.features(noise(3, 12)).shape == (3, 8, 6, 6)
    assert cut(module, "head", "second", 8).features(noise(3, 8)).shape == (3, 8, 8, 8)


@pytest.mark.parametrize(
    ("module", "trainable", "why"),
    [
        (CalledTwice(), "head", "the head is called twice, with two inputs"),
        (Asking(), "second", "a way depends on the images"),
        (Tied(), "second", "a trained and a frozen module share a parameter"),
        (Small(), "second.1", "the residual crosses the cut as well"),
        (nn.Sequential(nn.Conv2d(3, 8, 12), nn.Flatten(), nn.Linear(8, 7)), "0", "nothing is frozen"),
    ],
)
def test_what_cannot_be_cut_is_none(module: nn.Module, trainable: str, why: str) -> None:
    classifier = "head" if isinstance(module, Small) else "2"
    modes = [part.training for part in module.modules()]
    assert frozen_prefix(module, classifier, trainable, noise(2, 12)) is None, why
    assert [part.training for part in module.modules()] == modes


class Out(nn.Module):
    """Registered in another order than called: what is frozen stands behind what is trained."""

    def __init__(self, frozen: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.late = frozen
        self.block = nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 7)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.late(self.block(self.stem(images))).mean((2, 3)))
        return out


def test_a_frozen_dropout_behind_the_cut_stays_still() -> None:
    torch.manual_seed(0)
    prefix = cut(Out(nn.Dropout(0.5)), "head", "block")
    features = prefix.features(noise(2, 12))
    trained_part(prefix.rest, prefix.classifier, "all")
    assert torch.equal(prefix.rest(features), prefix.rest(features))


def test_frozen_parameters_behind_the_cut_would_be_trained_and_so_it_is_none() -> None:
    assert frozen_prefix(Out(nn.BatchNorm2d(8)), "head", "block", noise(2, 12)) is None


def test_a_head_of_transformers_is_cut_off() -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    class Logits(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = self.network(pixel_values=images).logits
            return out

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=7)
    module = Logits(ResNetForImageClassification(config))
    prefix = cut(module, "network.classifier.1", "head", 32)
    assert prefix.features(noise(3, 32)).shape == (3, 16)


def test_an_unknown_name_is_an_error(small: Small) -> None:
    with pytest.raises(RecipeError, match="did you mean second"):
        frozen_prefix(small, "head", "secnd", noise(2, 12))
