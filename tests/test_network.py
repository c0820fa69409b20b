"""The network probe: silent hosts cost little, answers are kept, proxies are asked."""

from __future__ import annotations

import socket
import time

import pytest

from ferbench.network import NetworkProbe


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
