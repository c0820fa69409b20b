"""The snapshots that lie under results/: each holds what it says, names nobody, and gives its pages byte for byte."""

from __future__ import annotations

import gzip
import re
import shutil
from functools import cache
from pathlib import Path

import pytest

from ferbench.catalog import Catalog
from ferbench.publication.from_snapshot import PAGES, write_pages
from ferbench.snapshot import Found, read_snapshot, write_snapshot
from ferbench.snapshot.licence import NAMES, permits_of, withheld_of

RESULTS = Path(__file__).parents[1] / "results"

FILES = ("runs.jsonl", "predictions.csv.gz")

SNAPSHOTS = sorted(path.parent for path in RESULTS.glob("*/runs.jsonl"))

#: Bytes that a file of a published snapshot may have: a repository keeps every version of it for ever.
MOST_BYTES = {"runs.jsonl": 3_000_000, "predictions.csv.gz": 5_000_000, "leaderboard.md": 200_000}
MOST_BYTES_OF_PAGE = 500_000

published = pytest.mark.parametrize("folder", SNAPSHOTS, ids=lambda path: path.name)


@cache
def read(folder: Path) -> Found:
    return read_snapshot(folder)


def test_there_are_snapshots() -> None:
    assert SNAPSHOTS, "results/ holds no snapshot: ferbench snapshot results/NAME writes one"
    for folder in (path for path in RESULTS.iterdir() if path.is_dir()):
        assert folder in SNAPSHOTS, f"{folder.name} is no snapshot: it has no runs.jsonl"


@published
def test_its_rows_hold_and_its_figures_follow_from_its_predictions(folder: Path, tmp_path: Path) -> None:
    found = read(folder)
    assert not found.refused and found.runs
    assert all(kept.run.status == "failed" or kept.run.scores for kept in found.runs)
    # Every figure was derived again when it was read: written once more, all of them are the same digits.
    write_snapshot(tmp_path, found.runs, lambda dataset: NAMES)
    assert (tmp_path / FILES[0]).read_bytes() == (folder / FILES[0]).read_bytes()
    # Packed by another zlib, the same lines may be other bytes.
    packed = [gzip.decompress((place / FILES[1]).read_bytes()) for place in (tmp_path, folder)]
    assert packed[0] == packed[1]


@published
def test_its_pages_are_what_its_two_files_give(folder: Path, tmp_path: Path) -> None:
    for name in FILES:
        shutil.copy(folder / name, tmp_path / name)
    write_pages(tmp_path)
    for name in PAGES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), (
            f"{folder.name}/{name} is not what its rows give: ferbench snapshot results/{folder.name} --rebuild"
        )


@published
def test_it_is_text_of_a_size_that_a_repository_carries(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {*FILES, *PAGES}
    for path in folder.iterdir():
        assert path.stat().st_size <= MOST_BYTES.get(path.name, MOST_BYTES_OF_PAGE), path.name
        text = path.read_bytes()
        text = gzip.decompress(text) if path.suffix == ".gz" else text
        assert "\x00" not in text.decode("utf-8"), path.name
        # Neither home folders nor where caches and weights lay.
        assert not re.search(rb"(?<![\w.:/-])/(?:home|Users|root|tmp|mnt)/", text), path.name
    page = (folder / "leaderboard.html").read_text("utf-8")
    assert not re.search(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//""", page)


@published
def test_no_name_is_published_that_a_licence_does_not_permit(folder: Path) -> None:
    permits = permits_of(Catalog.load().dataset)
    for kept in read(folder).runs:
        for predictions in kept.predictions.values():
            allowed = {*permits(predictions.dataset), *withheld_of(predictions)}
            assert "ids" in allowed, (kept.run.row, predictions.dataset)
            assert predictions.groups is None or "groups" in allowed, (kept.run.row, predictions.dataset)
