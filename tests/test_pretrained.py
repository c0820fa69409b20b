"""Published weights: found in either cache, downloaded once, checked, and refused in one line."""

from __future__ import annotations

import hashlib
import http.server
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ferbench import network
from ferbench.components import WeightsFile
from ferbench.errors import WeightsError
from ferbench.network import NetworkProbe
from ferbench.pretrained import Origin, find_pretrained


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch.hub and of the Hugging Face hub, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(network, "_PROBE", NetworkProbe(0))
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

    monkeypatch.setattr(network, "_PROBE", Reachable())
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
