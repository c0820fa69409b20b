"""The built-in backbones and families: built small, and their weights held against the libraries that define them."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from ferbench import network
from ferbench.components import Backbone, WeightsFile
from ferbench.errors import PluginError, RecipeError, UnknownName, WeightsError
from ferbench.network import NetworkProbe
from ferbench.recipes import Recipe
from ferbench.state_dicts import fit
from ferbench.weights import load_initial_weights, resolve_weights
from ferbench_plugins import alexnet, huggingface_family, timm_family, torchvision_family, vgg

REAL_NAME = "mobilenet_v2-b0353104.pth"
REAL_SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"


def singles() -> list[Backbone]:
    return [*alexnet.ferbench_register_backbones(), *vgg.ferbench_register_backbones()]


@cache
def member(name: str) -> Backbone:
    family = {"tv": torchvision_family, "timm": timm_family, "hf": huggingface_family}[name.partition("/")[0]]
    return family.ferbench_register_backbones()[0].resolve(name)


@pytest.fixture(autouse=True)
def no_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches of this test's own, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(network, "_PROBE", NetworkProbe(0))


def body(module: nn.Module, classifier: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in module.state_dict().items() if not key.startswith(f"{classifier}.")}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def saved(module: nn.Module, path: Path) -> WeightsFile:
    torch.save(module.state_dict(), path)
    return unhashed(path)


def unhashed(path: Path) -> WeightsFile:
    return WeightsFile(path, "0" * 64, "test")


# --- the networks by name ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", singles(), ids=lambda backbone: backbone.name)
def test_every_name_builds_at_its_smallest_size(backbone: Backbone) -> None:
    # The other VGGs differ in the number of layers only: their shapes are enough.
    device = "cpu" if backbone.name in ("alexnet", "vgg11_bn") else "meta"
    size = backbone.smallest_image_size
    with torch.device(device), torch.no_grad():
        module = backbone.build(7, size)
        logits = module(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 7)
    assert device == "meta" or bool(torch.isfinite(logits).all())
    assert module.get_submodule(backbone.classifier).weight.shape[0] == 7  # type: ignore[union-attr,index]
    with pytest.raises(RecipeError, match=f"{backbone.name} needs images of {size} pixels or more"):
        backbone.build(7, size - 1)
    dataclasses.replace(Recipe(), **dict(backbone.recipe))  # every key is a recipe's
    assert backbone.citation
    library, version = backbone.library.split()
    assert {"timm": timm, "torchvision": torchvision}[library].__version__.startswith(version)


def test_alexnet_does_not_work_below_the_declared_size() -> None:
    with pytest.raises(RuntimeError, match="too small"):
        torchvision.models.alexnet()(torch.zeros(1, 3, 62, 62))


def test_names_are_unique_and_as_declared() -> None:
    names = [backbone.name for backbone in singles()]
    assert names[0] == "alexnet"
    assert sorted(names[1:]) == sorted(f"vgg{d}{n}" for d in (11, 13, 16, 19) for n in ("", "_bn"))


def test_alexnet_is_torchvision_s() -> None:
    (backbone,) = alexnet.ferbench_register_backbones()
    torch.manual_seed(0)
    ours = backbone.build(7, 64).eval()
    torch.manual_seed(0)
    theirs = torchvision.models.alexnet(num_classes=7).eval()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(images), theirs(images))


def filled(module: nn.Module) -> nn.Module:
    """A module built on the meta device with random weights, cheaper than each layer's own initialisation."""
    module = module.to_empty(device="cpu")
    for name, value in module.state_dict().items():
        value.zero_() if value.ndim == 0 else value.uniform_(0.5, 1.5) if "var" in name else value.normal_(0, 0.02)
    return module.eval()


def test_torchvision_s_vgg_weights_compute_the_same_in_timm_s_network(tmp_path: Path) -> None:
    backbone = next(b for b in singles() if b.name == "vgg11_bn")
    with torch.device("meta"):
        theirs, ours, again = torchvision.models.vgg11_bn(num_classes=7), backbone.build(7, 32), backbone.build(7, 32)
    theirs, ours = filled(theirs), ours.to_empty(device="cpu").eval()
    save_file(theirs.state_dict(), tmp_path / "vgg.safetensors")
    backbone.load_weights(ours, unhashed(tmp_path / "vgg.safetensors"))
    ours.get_submodule("head.fc").load_state_dict(theirs.classifier[6].state_dict())  # type: ignore[union-attr,index]
    with torch.no_grad():
        for size in (224, 64):  # below 224 both widen the last feature map to 7x7
            images = torch.randn(1, 3, size, size)
            expected = theirs(images)
            assert expected.std() > 0
            torch.testing.assert_close(ours(images), expected, rtol=1e-4, atol=1e-6)
    # timm's own naming, as the Hugging Face hub has it
    again = again.to_empty(device="cpu")
    fit(again, vgg.timm_naming(ours.state_dict()), "head.fc")
    assert same(body(again, "head.fc"), body(ours, "head.fc"))
    # and another depth's are refused
    plain = next(b for b in singles() if b.name == "vgg11")
    with torch.device("meta"):
        module = plain.build(7, 32)
    with pytest.raises(WeightsError, match=r"vgg\.safetensors do not fit: .*missing"):
        plain.load_weights(module, unhashed(tmp_path / "vgg.safetensors"))


def test_vgg_has_the_paper_s_dropout() -> None:
    with torch.device("meta"):
        module = singles()[1].build(7, 32)
    assert [part.p for part in module.modules() if isinstance(part, nn.Dropout)] == [0.5, 0.5]


# --- families ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "classifier", "smallest", "image_size"),
    [
        ("tv/alexnet", "classifier.6", 63, 224),
        ("tv/squeezenet1_1", "classifier.1", 32, 224),
        ("tv/inception_v3", "fc", 75, 299),
        ("tv/mobilenet_v3_small", "classifier.3", 32, 224),
        ("timm/resnet18", "fc", 32, 224),
        ("timm/vit_tiny_patch16_224", "head", 32, 224),
        ("timm/mobilenetv3_small_050.lamb_in1k", "classifier", 32, 224),
    ],
)
def test_members_say_what_they_are(name: str, classifier: str, smallest: int, image_size: int) -> None:
    backbone = member(name)
    found = (backbone.name, backbone.classifier, backbone.smallest_image_size, backbone.image_size)
    assert found == (name, classifier, smallest, image_size)
    device = "cpu" if "mobilenet" in name else "meta"
    with torch.device(device):
        logits = backbone.build(7, smallest)(torch.randn(2, 3, smallest, smallest))  # in training mode, as stages start
    assert logits.shape == (2, 7)
    assert device == "meta" or bool(torch.isfinite(logits).all())
    dataclasses.replace(Recipe(), **dict(backbone.recipe))
    with pytest.raises(RecipeError, match=f"needs images of {smallest} pixels"):
        backbone.build(7, smallest - 1)
    assert resolve_weights(backbone, "auto") is None


def test_mean_and_std_are_the_weights_own() -> None:
    assert member("timm/vit_tiny_patch16_224").mean == (0.5, 0.5, 0.5)
    assert member("tv/squeezenet1_1").std == (0.229, 0.224, 0.225)


def test_a_size_between_is_refused_by_a_vit_of_torchvision() -> None:
    with pytest.raises(RecipeError, match=r"image_size 50 \(.*patch.*among others: 32, 64, 224"):
        member("tv/vit_b_32").build(7, 50)


def test_two_heads_are_refused() -> None:
    with pytest.raises(PluginError, match=r"2 classification heads \(head, head_dist\)"):
        member("timm/deit_tiny_distilled_patch16_224")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("tv/resnet19", "tv/resnet18"),
        ("tv/resnet18.IMAGENET1K_V7", "tv/resnet18.IMAGENET1K_V1"),
        ("timm/resnet51", "timm/resnet50"),
        ("timm/resnet18.tv_in2k", "timm/resnet18.tv_in1k"),
    ],
)
def test_unknown_members_are_answered_with_a_suggestion(name: str, suggestion: str) -> None:
    with pytest.raises(UnknownName, match=f"did you mean.*{suggestion}"):
        member(name)


def test_names_are_listed() -> None:
    for family in (torchvision_family, timm_family):
        (listed,) = family.ferbench_register_backbones()
        names = listed.names()
        assert len(set(names)) == len(names) > 50
        assert all(name.startswith(listed.prefix) for name in names)
    assert "tv/mobilenet_v2" in torchvision_family._names()
    assert not any("segmentation" in name or "deeplab" in name for name in torchvision_family._names())


def test_weights_of_other_names_and_versions_are_chosen_by_suffix(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torchvision_family, "find_pretrained", lambda origins, policy: asked.append(origins[0].source))
    torchvision_family._resolve.cache_clear()
    for name in ("tv/resnet50", "tv/resnet50.IMAGENET1K_V2"):
        torchvision_family._resolve(name).resolve_weights("auto")
    torchvision_family._resolve.cache_clear()
    assert asked == ["torchvision ResNet50_Weights.IMAGENET1K_V1", "torchvision ResNet50_Weights.IMAGENET1K_V2"]


def test_old_names_in_densenet_files_are_read(tmp_path: Path) -> None:
    theirs = torchvision.models.densenet121()
    old = {
        key.replace("norm1", "norm.1").replace("norm2", "norm.2").replace("conv1", "conv.1").replace("conv2", "conv.2")
        if "denselayer" in key
        else key: value
        for key, value in theirs.state_dict().items()
    }
    assert old.keys() != theirs.state_dict().keys()
    torch.save(old, tmp_path / "a.pth")
    backbone = member("tv/densenet121")
    ours = backbone.build(7, 32)
    backbone.load_weights(ours, unhashed(tmp_path / "a.pth"))
    assert same(body(ours, "classifier"), body(theirs, "classifier"))


def test_auxiliary_heads_are_left_out(tmp_path: Path) -> None:
    theirs = torchvision.models.googlenet(aux_logits=True, init_weights=False)
    backbone = member("tv/googlenet")
    ours = backbone.build(7, 32)
    backbone.load_weights(ours, saved(theirs, tmp_path / "a.pth"))
    expected = {key: value for key, value in body(theirs, "fc").items() if not key.startswith("aux")}
    assert same(body(ours, "fc"), expected)


def test_a_network_that_asks_for_its_layout_s_version_gets_it(tmp_path: Path) -> None:
    theirs = torchvision.models.mnasnet0_5()
    backbone = member("tv/mnasnet0_5")
    ours = backbone.build(7, 32)
    backbone.load_weights(ours, saved(theirs, tmp_path / "a.pth"))
    assert same(body(ours, "classifier.1"), body(theirs, "classifier.1"))


def test_position_embeddings_of_a_torchvision_vit_are_interpolated(tmp_path: Path) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.vit_b_32()
    theirs = filled(theirs)
    backbone = member("tv/vit_b_32")
    ours = backbone.build(7, 64)
    backbone.load_weights(ours, saved(theirs, tmp_path / "a.pth"))
    old, new = (net.state_dict()["encoder.pos_embedding"] for net in (theirs, ours))
    assert (old.shape[1], new.shape[1]) == (1 + 7 * 7, 1 + 2 * 2)
    grid = old[:, 1:].reshape(1, 7, 7, -1).permute(0, 3, 1, 2)
    expected = functional.interpolate(grid, size=(2, 2), mode="bicubic", align_corners=True).flatten(2).transpose(1, 2)
    torch.testing.assert_close(new[:, 1:], expected)


@pytest.mark.parametrize("headless", [False, True])
def test_timm_s_weights_go_through_timm_s_own_loader(tmp_path: Path, headless: bool) -> None:
    name = "test_vit"
    theirs = timm.create_model(name, num_classes=11)
    state = body(theirs, "head") if headless else theirs.state_dict()
    torch.save(state, tmp_path / "a.pth")
    backbone = member(f"timm/{name}")
    ours = backbone.build(7, 48)
    head = ours.get_submodule("head").weight.clone()  # type: ignore[union-attr,operator]
    backbone.load_weights(ours, unhashed(tmp_path / "a.pth"))
    assert torch.equal(ours.get_submodule("head").weight, head)  # type: ignore[arg-type]
    expected = body(theirs, "head")
    assert ours.state_dict()["pos_embed"].shape == (1, 1 + 3 * 3, 64)
    resampled = timm.layers.resample_abs_pos_embed(expected.pop("pos_embed"), [3, 3])
    torch.testing.assert_close(ours.state_dict()["pos_embed"], resampled)
    assert all(torch.equal(ours.state_dict()[key], value) for key, value in expected.items())


@pytest.mark.parametrize("name", ["timm/resnet18", "tv/squeezenet1_1", "alexnet"])
def test_weights_of_another_architecture_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    backbone = next((b for b in singles() if b.name == name), None) or member(name)
    file = saved(torchvision.models.shufflenet_v2_x0_5(), tmp_path / "a.pth")
    module = backbone.build(7, 64)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        backbone.load_weights(module, file)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert "missing" in str(caught.value)
    assert same(before, module.state_dict())


# --- transformers -----------------------------------------------------------------------------------------------------


def tiny_resnet() -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=5)
    return ResNetForImageClassification(config)


def tiny_vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=64,
        patch_size=16,
        num_labels=5,
    )
    return ViTForImageClassification(config)


def tiny_timm() -> nn.Module:
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    return TimmWrapperForImageClassification(TimmWrapperConfig(architecture="mobilenetv3_small_050", num_labels=5))


@pytest.mark.parametrize("make", [tiny_resnet, tiny_vit, tiny_timm])
def test_a_saved_folder_comes_back_with_its_weights(
    tmp_path: Path, make: object, capfd: pytest.CaptureFixture[str]
) -> None:
    theirs = make().eval()  # type: ignore[operator]
    theirs.save_pretrained(tmp_path / "mine")
    processor = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3], "size": {"height": 64, "width": 64}}
    (tmp_path / "mine" / "preprocessor_config.json").write_text(json.dumps(processor))
    capfd.readouterr()
    backbone = member(f"hf/{tmp_path / 'mine'}")
    assert (backbone.image_size, backbone.mean, backbone.std) == (64, (0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    resolved = resolve_weights(backbone, "auto")
    assert resolved is not None
    assert resolved.source == "folder mine"
    module = backbone.build(5, 64).eval()
    head = module.get_submodule(backbone.classifier)
    before = {key: value.clone() for key, value in head.state_dict().items()}
    load_initial_weights(backbone, module, resolved)
    assert same(before, head.state_dict())
    inner = backbone.classifier.removeprefix("network.")
    head.load_state_dict(theirs.get_submodule(inner).state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(module(images), theirs(pixel_values=images).logits)
        small = backbone.build(7, 48)
        load_initial_weights(backbone, small, resolved)
        assert small(torch.randn(2, 3, 48, 48)).shape == (2, 7)
    assert capfd.readouterr() == ("", "")


def test_a_folder_s_architecture_is_part_of_what_names_it(tmp_path: Path) -> None:
    for folder, make in (("a", tiny_resnet), ("b", tiny_resnet), ("c", tiny_vit)):
        make().save_pretrained(tmp_path / folder)
    a, b, c = (member(f"hf/{tmp_path / folder}").library for folder in "abc")
    assert a == b != c


def test_folders_that_do_not_serve_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="neither a folder with a config"):
        member("hf/nobody/nothing")
    with pytest.raises(UnknownName):
        member("hf/not/a/name")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read as JSON"):
        member(f"hf/{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsError, match="no image classification for bert"):
        member(f"hf/{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "nosuch"}')
    with pytest.raises(WeightsError, match="no config that transformers can use"):
        member(f"hf/{tmp_path}")


def test_weights_of_another_network_are_refused_by_a_folder_s(tmp_path: Path) -> None:
    tiny_resnet().save_pretrained(tmp_path / "a")
    tiny_vit().save_pretrained(tmp_path / "b")
    backbone = member(f"hf/{tmp_path / 'a'}")
    other = resolve_weights(backbone, str(tmp_path / "b" / "model.safetensors"))
    assert other is not None
    with pytest.raises(WeightsError, match=r"do not fit: .* missing; .* not the backbone's"):
        load_initial_weights(backbone, backbone.build(7, 32), other)


def test_without_network_a_hub_name_is_answered_at_once() -> None:
    code = (
        "import time, os\n"
        "from ferbench import network\n"
        "network._PROBE = network.NetworkProbe(0)\n"
        "from ferbench_plugins.huggingface_family import _resolve\n"
        "from ferbench.errors import UnknownName\n"
        "start = time.monotonic()\n"
        "try: _resolve('hf/nobody/nothing')\n"
        "except UnknownName: print(time.monotonic() - start, os.environ['HF_HUB_OFFLINE'])\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    seconds, offline = done.stdout.split()
    assert float(seconds) < 5
    assert offline == "1"


# --- real weights -----------------------------------------------------------------------------------------------------


@pytest.fixture
def real_file() -> Path:
    """torchvision's mobilenet_v2, as `tests/fetch_real_weights.py` fetches it."""
    folder = os.environ.get("FERBENCH_REAL_WEIGHTS") or Path(__file__).parents[1] / ".real-weights"
    path = Path(folder) / REAL_NAME
    if not path.is_file():
        reason = f"{path} is not there: run python tests/fetch_real_weights.py {folder}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.mark.real_weights
def test_real_weights_are_found_and_give_the_features_of_torchvision(real_file: Path, tmp_path: Path) -> None:
    backbone = member("tv/mobilenet_v2")
    assert resolve_weights(backbone, "auto") is None
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    shutil.copy(real_file, checkpoints)
    theirs = torchvision.models.mobilenet_v2()
    theirs.load_state_dict(torch.load(real_file, weights_only=True))
    images = torch.randn(2, 3, 64, 64)
    found = resolve_weights(backbone, "auto")
    given = resolve_weights(backbone, str(real_file))
    assert found is not None
    assert given is not None
    assert found == resolve_weights(backbone, "pretrained")
    assert found.sha256 == given.sha256 == REAL_SHA256
    assert found.source == "torchvision MobileNet_V2_Weights.IMAGENET1K_V1"
    assert given.source == f"file {REAL_NAME}"
    for initial in (found, given):
        module = backbone.build(7, 64)
        head = module.classifier[1].weight.clone()  # type: ignore[union-attr,index,operator]
        load_initial_weights(backbone, module, initial)
        assert torch.equal(module.classifier[1].weight, head)  # type: ignore[union-attr,index]
        with torch.no_grad():
            ours = module.eval().features(images)  # type: ignore[operator]
            assert torch.equal(ours, theirs.eval().features(images))


@pytest.mark.real_weights
def test_real_weights_of_another_network_are_refused(real_file: Path) -> None:
    backbone = member("timm/mobilenetv2_100")
    resolved = resolve_weights(backbone, str(real_file))
    assert resolved is not None
    with pytest.raises(
        WeightsError, match=r"mobilenet_v2-b0353104\.pth do not fit: conv_stem\.weight and \d+ more are"
    ):
        load_initial_weights(backbone, backbone.build(7, 32), resolved)


# --- imports ----------------------------------------------------------------------------------------------------------


def test_the_plugins_import_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from ferbench_plugins import alexnet, vgg, timm_family, torchvision_family, huggingface_family as last\n"
        "for plugin in (alexnet, vgg, timm_family, torchvision_family, last): plugin.ferbench_register_backbones()\n"
        "print(*{name.split('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "torchvision", "timm", "transformers", "safetensors", "huggingface_hub", "numpy", "sqlalchemy"}
    assert not heavy & set(done.stdout.split())
