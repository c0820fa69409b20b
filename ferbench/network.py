"""Whether there is a network, found out without waiting long for one that is not there."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

#: Seconds that one command may spend on finding out whether there is a network, all hosts together.
PROBE_SECONDS = 2.0


class NetworkProbe:
    """Whether hosts can be reached, each asked once, all together within a number of seconds.

    A machine without network may hold a name look-up or a connection for minutes. The asking is done in a thread that
    is left behind when time is up; once the seconds are spent, every further host counts as out of reach.

    Parameters
    ----------
    seconds : for all hosts together
    """

    def __init__(self, seconds: float = PROBE_SECONDS) -> None:
        self.held_off = False
        self._left = seconds
        self._answers: dict[str, bool] = {}
        self._lock = threading.Lock()

    def reachable(self, host: str, timeout: float = PROBE_SECONDS) -> bool:
        """True if a TCP connection to the host, or to the proxy that is set for it, opens in time."""
        if self.held_off or _is_offline() or not host:
            return False
        with self._lock:
            if host not in self._answers:
                start = time.monotonic()
                self._answers[host] = _connects(*_address(host), min(timeout, self._left))
                self._left = max(0.0, self._left - (time.monotonic() - start))
            return self._answers[host]


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _address(host: str) -> tuple[str, int]:
    import urllib.request

    proxy = urllib.request.getproxies().get("https")
    if proxy and not urllib.request.proxy_bypass(host):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.hostname:
            return parts.hostname, parts.port or 80
    return host, 443


def _connects(host: str, port: int, seconds: float) -> bool:
    if seconds <= 0:
        return False
    opened = threading.Event()

    def ask() -> None:
        try:
            socket.create_connection((host, port), timeout=seconds).close()
        except OSError:
            return
        opened.set()

    # A daemon, because a name look-up cannot be interrupted and must not hold the process at its end.
    thread = threading.Thread(target=ask, name=f"probe {host}", daemon=True)
    thread.start()
    thread.join(seconds)
    return opened.is_set()


_PROBE = NetworkProbe()


@contextmanager
def no_network() -> Iterator[None]:
    """Within, every host counts as out of reach, so that ferbench downloads nothing; a plugin may still do so."""
    before, _PROBE.held_off = _PROBE.held_off, True
    try:
        yield
    finally:
        _PROBE.held_off = before


def network_reachable(host: str, timeout: float = PROBE_SECONDS) -> bool:
    """Whether a host can be reached; asked once a process, two seconds at most for all hosts together.

    False without asking within `no_network`, and where HF_HUB_OFFLINE is set, whatever the host: who sets it wants no
    network.
    """
    return _PROBE.reachable(host, timeout)
