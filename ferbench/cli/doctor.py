"""`ferbench doctor`: what this machine has, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferbench.cli.options import common_options
from ferbench.cli.session import catalog_of, paint, print_json, print_lines, settings_of, shown_store, width
from ferbench.errors import FerbenchError

if TYPE_CHECKING:
    from ferbench.publish.diagnosis import Finding
    from ferbench.settings import Settings

#: Extras that nobody needs who uses ferbench.
_FOR_DEVELOPERS = ("bench", "dev")

#: Where pretrained weights come from.
WEIGHT_HOSTS = ("huggingface.co", "download.pytorch.org")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Show what this machine has and what is broken.

    Versions, devices, store, plugins, data, cache and network; exit code 1 if something is broken.
    """
    from ferbench.fingerprints import as_plain
    from ferbench.publish.diagnosis import finding_lines

    settings = settings_of(context)
    findings: list[Finding] = []
    for name, look in (
        ("versions", _versions),
        ("device", lambda: _devices(settings)),
        ("store", lambda: _store(settings)),
        ("plugins", lambda: _plugins(context)),
        ("data", lambda: _data(context, settings)),
        ("cache", lambda: _cache(settings)),
        ("network", _network),
    ):
        findings += _looked(name, look)
    ok = not any(finding.broken for finding in findings)
    if as_json:
        print_json({"ok": ok, "findings": as_plain(findings)})
    else:
        print_lines(finding_lines(findings, width=width(), paint=paint()))
    if not ok:
        context.exit(1)


def _looked(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Findings; what raises is one itself, and the other looks go on."""
    from ferbench.publish.diagnosis import Finding

    try:
        yield from look()
    except FerbenchError as error:
        yield Finding(name, error.line, broken=True)


def _versions() -> Iterator[Finding]:
    import platform

    from ferbench.environment import current_environment, git_commit
    from ferbench.publish.diagnosis import Finding
    from ferbench.quantities import joined
    from ferbench.version import VERSION

    commit = git_commit()
    yield Finding("ferbench", VERSION + (f", commit {commit[:10]}" if commit else ""))
    yield Finding("python", f"{platform.python_version()}, {platform.platform()}")
    yield Finding("libraries", ", ".join(" ".join(pair) for pair in current_environment("cpu").versions))
    for extra, (there, missing) in _extras().items():
        lacking = f"{extra}: {joined(missing)} not installed; pip install 'ferbench[{extra}]'"
        yield Finding("extra", lacking if missing else f"{extra} ({', '.join(there)})")


def _extras() -> dict[str, tuple[list[str], list[str]]]:
    """Of each extra that users install, the packages that are there with their versions, and those that are not."""
    from importlib.metadata import PackageNotFoundError, requires, version

    found: dict[str, tuple[list[str], list[str]]] = {}
    for requirement in requires("ferbench") or ():
        match = re.fullmatch(r"""([\w.-]+)[^;]*; extra == ["'](\w+)["']""", requirement)
        if match is None or match[2] in _FOR_DEVELOPERS:
            continue
        there, missing = found.setdefault(match[2], ([], []))
        try:
            there.append(f"{match[1]} {version(match[1])}")
        except PackageNotFoundError:
            missing.append(match[1])
    return found


def _devices(settings: Settings) -> Iterator[Finding]:
    import torch

    from ferbench.environment import automatic_precision, chosen_device, device_kind, processor_name, usable_cores
    from ferbench.publish.diagnosis import Finding
    from ferbench.quantities import counted

    yield Finding("processor", f"{processor_name()}, {counted(usable_cores(), 'core')} usable")
    yield Finding("threads", f"{torch.get_num_threads()}, used by torch")
    cuda = [f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    yield Finding("devices", ", ".join(["cpu", *cuda, *mps]))
    auto = chosen_device("auto")
    yield Finding("auto", f"takes {auto} ({device_kind(auto)}) with {automatic_precision(auto)}")
    if settings.device != "auto":
        yield Finding("device", f"{settings.device} is set: {device_kind(chosen_device(settings.device))}")
    if any(chosen.startswith("cuda") for chosen in cuda):
        has = automatic_precision(auto) == "bf16"
        yield Finding("bf16", "yes" if has else "no, training is in fp32")
    else:
        yield Finding("bf16", "not used on this device, training is in fp32")


def _store(settings: Settings) -> Iterator[Finding]:
    from ferbench.cli.session import store_exists
    from ferbench.publish.diagnosis import Finding
    from ferbench.quantities import counted
    from ferbench.store import open_store

    if not store_exists(settings):
        folder = _existing(Path(settings.store).expanduser())
        writable = _is_writable(folder)
        place = shown_store(settings)
        if writable:
            yield Finding("store", f"{place}: none yet, made by the first run")
        else:
            yield Finding("store", f"{place}: cannot be made, {folder} cannot be written to", broken=True)
        return
    with open_store(settings.store) as store:
        rows = store.leaderboard_rows()
        failed = sum(row.status == "failed" for row in rows)
        journal = {"wal": "write-ahead log", "delete": "rollback journal, as for a network file system"}
        parts = [
            store.location,
            *([journal.get(store.journal, store.journal)] if store.journal else []),
            counted(len(rows) - failed, "finished run"),
            *([counted(failed, "failed run")] if failed else []),
        ]
        yield Finding("store", ", ".join(parts))


def _plugins(context: click.Context) -> Iterator[Finding]:
    from ferbench.publish.diagnosis import Finding
    from ferbench.quantities import counted

    catalog = catalog_of(context)
    yield Finding("plugins", f"{counted(len(catalog.plugins()), 'plugin')} loaded")
    for failure in catalog.failures:
        yield Finding("plugin", failure.line, broken=True)


def _data(context: click.Context, settings: Settings) -> Iterator[Finding]:
    from ferbench.cli.session import listed_datasets
    from ferbench.publish.diagnosis import Finding

    there = "" if settings.data_folder.is_dir() else " (not there)"
    yield Finding("data folder", f"{settings.data_folder}{there}")
    for dataset in listed_datasets(catalog_of(context)):
        root = None if dataset.embedded else dataset.locate(settings.data_folder)
        text = "embedded" if dataset.embedded else f"found: {root}" if root else "not found"
        yield Finding("dataset", f"{dataset.name}: {text}")


def _cache(settings: Settings) -> Iterator[Finding]:
    from ferbench.publish.diagnosis import Finding
    from ferbench.quantities import size

    folder = settings.cache_folder
    if not _is_writable(_existing(folder)):
        yield Finding("cache", f"{folder} is not writable: name another folder with FERBENCH_CACHE", broken=True)
        return
    used = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    yield Finding("cache", f"{folder}, {size(used)}")


def _network() -> Iterator[Finding]:
    from ferbench.network import network_reachable
    from ferbench.publish.diagnosis import Finding

    for host in WEIGHT_HOSTS:
        state = (
            "reachable" if network_reachable(host) else "out of reach: weights come from local caches or --weights FILE"
        )
        yield Finding("weights", f"{host} {state}")


def _existing(path: Path) -> Path:
    """The path itself, or the nearest one above it that is there."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


def _is_writable(folder: Path) -> bool:
    """By writing: permission bits say little for root, in containers and on network file systems."""
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
