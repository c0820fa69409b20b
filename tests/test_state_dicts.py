"""Files of any content are tensors or one line, and fit a module whole or not at all."""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ferbench.errors import WeightsError
from ferbench.state_dicts import file_sha256, fit, read_state_dict


def small_network(classes: int = 7) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )


def body(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items() if not key.startswith("4.")}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a"])
def test_safetensors_are_told_by_content(tmp_path: Path, name: str) -> None:
    state = small_network().state_dict()
    save_file(state, tmp_path / name)
    assert same(read_state_dict(tmp_path / name), state)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_torch_files_old_and_new_and_in_checkpoints(tmp_path: Path, zipped: bool, wrapper: str | None) -> None:
    state = small_network().state_dict()
    content = state if wrapper is None else {"epoch": 3, wrapper: state, "lr": [0.1]}
    torch.save(content, tmp_path / "a.safetensors", _use_new_zipfile_serialization=zipped)  # a suffix that lies
    assert same(read_state_dict(tmp_path / "a.safetensors"), state)


def test_the_prefix_of_data_parallel_is_taken_off(tmp_path: Path) -> None:
    state = small_network().state_dict()
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "a.pth")
    assert same(read_state_dict(tmp_path / "a.pth"), state)


def test_wrapped_ordered_dicts_keep_their_order(tmp_path: Path) -> None:
    state = OrderedDict((str(i), torch.zeros(1)) for i in (3, 1, 2))
    torch.save({"model": state}, tmp_path / "a.pth")
    assert list(read_state_dict(tmp_path / "a.pth")) == ["3", "1", "2"]


class Malicious:
    """Unpickling this creates a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.witness,)


@pytest.mark.parametrize("kind", ["pickle", "zip", "legacy", "wrapped"])
def test_a_pickle_that_needs_more_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    witness, path = tmp_path / "witness", tmp_path / "a.pth"
    content: object = Malicious(witness)
    if kind == "wrapped":
        content = {"state_dict": small_network().state_dict(), "more": content}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind != "legacy")
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    assert not witness.exists()
    assert "\n" not in str(caught.value)
    assert "would have to run" in str(caught.value)
    # The attack is real: what ferbench refuses to do would have created the file.
    torch.load(path, weights_only=False) if kind != "pickle" else pickle.loads(path.read_bytes())
    assert witness.exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "content", [{"a": torch.zeros(2)}, {"a": [1, 2]}, {"a": Path("b")}], ids=["tensor", "list", "path"]
)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_no_ordinary_pickle_brings_torch_s_advice(tmp_path: Path, protocol: int, content: object) -> None:
    path = tmp_path / "a.pkl"
    with path.open("wb") as stream:
        pickle.dump(content, stream, protocol=protocol)
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    assert "safetensors.torch.save_file" in caught.value.line
    for words in ("weights_only", "add_safe_globals", "PyTorch", "torch.load"):
        assert words not in caught.value.line
    assert len(caught.value.line) - len(str(path)) < 250
    if protocol > 3:
        assert "ferbench never does that" in caught.value.line


def test_a_file_that_is_not_there_or_a_folder_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.pth", tmp_path):
        with pytest.raises(WeightsError, match="cannot be read"):
            read_state_dict(path)
        with pytest.raises(WeightsError, match="cannot be read"):
            file_sha256(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_file_that_was_cut_off_is_one_line(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "a"
    if kind == "safetensors":
        save_file(small_network().state_dict(), path)
    else:
        torch.save(small_network().state_dict(), path, _use_new_zipfile_serialization=kind == "zip")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    assert str(path) in caught.value.line
    assert len(caught.value.line) < 600


@pytest.mark.parametrize(
    "content", [[1, 2], {"epoch": 3}, {}, torch.zeros(3), {1: torch.zeros(1)}, {"model": {"a": 1}}]
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_state_dict(tmp_path / "a.pth")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from(
        [b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95", b"\x10\0\0\0\0\0\0\0{", b"\xff" * 8 + b"{"]
    ),
    rest=st.binary(max_size=200),
)
def test_no_bytes_give_anything_but_one_line(tmp_path: Path, start: bytes, rest: bytes) -> None:
    (tmp_path / "a").write_bytes(start + rest)
    with pytest.raises(WeightsError) as caught:
        read_state_dict(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_the_hash_is_of_the_bytes_and_follows_changes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"one", b"three"):
        path.write_bytes(content)
        assert file_sha256(path) == hashlib.sha256(content).hexdigest()


# --- fitting ----------------------------------------------------------------------------------------------------------


def test_everything_but_the_head_is_taken() -> None:
    theirs, ours = small_network(classes=1000), small_network()
    head = ours[4].weight.clone()
    fit(ours, theirs.state_dict(), "4")
    assert same(body(ours), body(theirs))
    assert torch.equal(ours[4].weight, head)


def test_a_head_may_be_absent_and_so_may_the_counter_of_batches() -> None:
    theirs, ours = small_network(), small_network()
    state = {key: value for key, value in body(theirs).items() if not key.endswith("num_batches_tracked")}
    fit(ours, state, "4")
    assert torch.equal(ours[0].weight, theirs[0].weight)


def test_a_head_s_name_is_no_prefix_of_another() -> None:
    module = nn.ModuleDict({"fc": nn.Linear(2, 2), "fc2": nn.Linear(2, 2)})
    with pytest.raises(WeightsError, match=r"fc2\.weight and 1 more are missing"):
        fit(module, {}, "fc")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda state: state.pop("1.weight"), "1.weight is missing"),
        (
            lambda state: [state.pop(key) for key in ("0.weight", "1.weight", "1.bias")],
            "0.weight and 2 more are missing",
        ),
        (lambda state: state.update(x=torch.zeros(1)), "x is not the backbone's"),
        (
            lambda state: state.update({"0.bias": torch.zeros(5)}),
            "0.bias (5 in the file, 4 in the backbone) is of another",
        ),
        (lambda state: state.update({"0.bias": torch.zeros(4, dtype=torch.int8)}), "0.bias (4 of int8 in the file"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(change: object, line: str) -> None:
    theirs, ours = small_network(), small_network()
    state = dict(theirs.state_dict())
    change(state)  # type: ignore[operator]
    before = body(ours)
    with pytest.raises(WeightsError) as caught:
        fit(ours, state, "4", "file.pth")
    assert str(caught.value).startswith("file.pth do not fit")
    assert line in str(caught.value)
    assert same(before, body(ours))


def test_half_precision_files_fill_float32_modules() -> None:
    theirs, ours = small_network(), small_network()
    fit(ours, {key: value.half() if value.is_floating_point() else value for key, value in body(theirs).items()}, "4")
    assert ours[0].weight.dtype == torch.float32
    assert torch.allclose(ours[0].weight, theirs[0].weight, atol=1e-3)


def test_the_version_of_a_state_dict_s_layout_reaches_the_module(tmp_path: Path) -> None:
    class Picky(nn.Linear):
        _version = 2

        def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):  # type: ignore[no-untyped-def]
            seen.append(local_metadata.get("version"))
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    seen: list[int | None] = []
    module = Picky(2, 2)
    torch.save(module.state_dict(), tmp_path / "a.pth")
    fit(module, read_state_dict(tmp_path / "a.pth"), "none")
    save_file(module.state_dict(), tmp_path / "a.safetensors")
    fit(module, read_state_dict(tmp_path / "a.safetensors"), "none")
    assert seen == [2, 2]
