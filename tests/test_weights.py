"""Weights: policies, files of any content, fitting, finding, and the network probe."""

from __future__ import annotations

import hashlib
import http.server
import logging
import pickle
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ferbench import weights
from ferbench.components import Backbone, WeightsFile
from ferbench.errors import WeightsError
from ferbench.records import RANDOM_WEIGHTS, InitialWeights
from ferbench.weights import NetworkProbe, Origin, find_pretrained, fit, read_state_dict, resolve_weights


def small_network(classes: int = 7) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )


def backbone(resolved: WeightsFile | None = None, asked: list[str] | None = None) -> Backbone:
    def resolve(policy: str) -> WeightsFile | None:
        if asked is not None:
            asked.append(policy)
        return resolved

    return Backbone(
        name="small",
        version=1,
        build=lambda classes, size: small_network(classes),
        resolve_weights=resolve,
        load_weights=lambda module, file: fit(module, read_state_dict(file.path), "4", str(file.path)),
        image_size=32,
        smallest_image_size=8,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        classifier="4",
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
    assert ("would have to run" in str(caught.value)) == (kind != "pickle")
    # The attack is real: what ferbench refuses to do would have created the file.
    torch.load(path, weights_only=False) if kind != "pickle" else pickle.loads(path.read_bytes())
    assert witness.exists()


def test_a_file_that_is_not_there_or_a_folder_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.pth", tmp_path):
        with pytest.raises(WeightsError, match="cannot be read"):
            read_state_dict(path)
        with pytest.raises(WeightsError, match="cannot be read"):
            weights.file_sha256(path)


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
        assert weights.file_sha256(path) == hashlib.sha256(content).hexdigest()


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


# --- policies ---------------------------------------------------------------------------------------------------------


def test_random_asks_no_backbone() -> None:
    asked: list[str] = []
    assert resolve_weights(backbone(asked=asked), "random") is RANDOM_WEIGHTS
    assert asked == []


def test_auto_is_none_and_pretrained_an_error_where_nothing_can_be_had() -> None:
    asked: list[str] = []
    assert resolve_weights(backbone(asked=asked), "auto") is None
    with pytest.raises(WeightsError, match=r"small cannot be had.*--weights FILE"):
        resolve_weights(backbone(asked=asked), "pretrained")
    assert asked == ["auto", "pretrained"]


def test_a_file_is_named_without_its_folder_and_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.pth").write_bytes(b"weights")
    expected = InitialWeights(hashlib.sha256(b"weights").hexdigest(), "file mine.pth", str(tmp_path / "mine.pth"))
    assert resolve_weights(backbone(), "mine.pth") == expected


@pytest.mark.parametrize("policy", ["imagenet", "no/such/file.pth", "Random"])
def test_what_is_neither_policy_nor_file_is_refused(policy: str) -> None:
    with pytest.raises(WeightsError, match="no such file; weights is auto, pretrained, random"):
        resolve_weights(backbone(), policy)


def test_initial_weights_are_loaded_unless_random_and_draw_no_random_numbers(tmp_path: Path) -> None:
    theirs = small_network()
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    resolved = resolve_weights(backbone(), str(tmp_path / "a.pth"))
    assert resolved is not None
    ours, untouched = small_network(), small_network()
    before = body(untouched)
    state = torch.get_rng_state()
    weights.load_initial_weights(backbone(), ours, resolved)
    weights.load_initial_weights(backbone(), untouched, RANDOM_WEIGHTS)
    assert torch.equal(state, torch.get_rng_state())
    assert same(body(ours), body(theirs))
    assert same(body(untouched), before)


def test_a_file_that_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(small_network().state_dict(), path)
    resolved = resolve_weights(backbone(), str(path))
    assert resolved is not None
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="has changed"):
        weights.load_initial_weights(backbone(), small_network(), resolved)


# --- finding ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch.hub and of the Hugging Face hub, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(weights, "_PROBE", NetworkProbe(0))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


CONTENT = b"the weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(hub: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """A host that serves CONTENT under every name but missing.pth, and the list of what was asked of it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404 if "missing" in self.path else 200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *args: object) -> None:
            pass

    class Reachable(NetworkProbe):
        def reachable(self, host: str, timeout: float = 2.0) -> bool:
            return host == "127.0.0.1"

    monkeypatch.setattr(weights, "_PROBE", Reachable())
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


def test_torch_hub_s_cache_is_looked_at_under_the_file_s_name(hub: Path) -> None:
    origin = Origin("lib NAME", url=f"https://example.invalid/models/small-{DIGEST[:8]}.pth")
    assert find_pretrained([origin], "auto") is None
    path = hub / f"small-{DIGEST[:8]}.pth"
    path.write_bytes(CONTENT)
    for policy in ("auto", "pretrained"):
        assert find_pretrained([origin], policy) == WeightsFile(path, DIGEST, "lib NAME")
    assert find_pretrained([origin], "random") is None


def test_a_cached_file_that_is_not_what_its_name_says_is_an_error(hub: Path) -> None:
    (hub / "small-01234567.pth").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match=r"small-01234567\.pth is broken.*delete it"):
        find_pretrained([Origin("lib", url="https://example.invalid/small-01234567.pth")], "auto")


def test_the_hub_s_cache_is_looked_at_and_the_first_file_wins(hub: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--them--small"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    origin = Origin("hub them/small", repository="them/small")
    assert find_pretrained([origin], "auto") is None
    for name in ("pytorch_model.bin", "model.safetensors"):
        (snapshot / name).write_bytes(name.encode())
        found = find_pretrained([Origin("lib", url="https://example.invalid/a.pth"), origin], "auto")
        assert found is not None
        assert (found.path, found.source) == (snapshot / name, "hub them/small")


def test_a_download_lands_in_torch_hub_s_cache_and_is_not_repeated(hub: Path, server: tuple[str, list[str]]) -> None:
    address, asked = server
    origin = Origin("lib", url=f"{address}/small-{DIGEST[:8]}.pth")
    for _ in range(2):
        found = find_pretrained([origin], "auto")
        assert found is not None
        assert (found.path, found.sha256) == (hub / f"small-{DIGEST[:8]}.pth", DIGEST)
    assert len(asked) == 1
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("name", ["missing.pth", "small-01234567.pth"])
def test_a_failed_download_is_a_warning_under_auto_and_an_error_otherwise(
    hub: Path, server: tuple[str, list[str]], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    address, asked = server
    origin = Origin("lib", url=f"{address}/{name}")
    with caplog.at_level(logging.WARNING):
        assert find_pretrained([origin], "auto") is None
    assert len(asked) == 1
    assert "lib could not be downloaded from 127.0.0.1" in caplog.text
    assert list(hub.iterdir()) == []
    with pytest.raises(WeightsError, match="could not be downloaded"):
        find_pretrained([origin], "pretrained")


# --- network ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("plain_network")
def test_silent_hosts_cost_the_probe_s_seconds_once_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def hang(address: object, timeout: float) -> None:
        asked.append(address)
        time.sleep(3)  # a name look-up does not know the timeout
        raise OSError

    monkeypatch.setattr(socket, "create_connection", hang)
    probe = NetworkProbe(0.2)
    start = time.monotonic()
    assert [probe.reachable(host) for host in ("a.invalid", "a.invalid", "b.invalid", "c.invalid")] == [False] * 4
    assert time.monotonic() - start < 1.0
    assert asked == [("a.invalid", 443)]


@pytest.mark.usefixtures("plain_network")
def test_an_answer_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(address: object, timeout: float) -> None:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    probe = NetworkProbe()
    assert [probe.reachable(host) for host in ("a.invalid", "a.invalid", "b.invalid")] == [False] * 3
    assert asked == [("a.invalid", 443), ("b.invalid", 443)]


@pytest.mark.usefixtures("plain_network")
def test_a_proxy_is_asked_in_the_host_s_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "b.invalid")
        probe = NetworkProbe()
        assert probe.reachable("a.invalid")
        assert not probe.reachable("b.invalid")
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert not probe.reachable("a.invalid")


def test_wrapped_ordered_dicts_keep_their_order(tmp_path: Path) -> None:
    state = OrderedDict((str(i), torch.zeros(1)) for i in (3, 1, 2))
    torch.save({"model": state}, tmp_path / "a.pth")
    assert list(read_state_dict(tmp_path / "a.pth")) == ["3", "1", "2"]
