"""`ferbench publish`: what it writes, says and refuses; at 80 columns no line is longer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kept_rows import failed_run, kept_run, save
from made_rows import made_board, made_row
from wrapping import says

from ferbench.cli import root
from ferbench.store import open_store


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows on `films`, of which nobody knows the licence, and one on FER2013's board."""
    path = tmp_path_factory.mktemp("published") / "board.sqlite"
    with open_store(str(path)) as store:
        for strategy, skill in (("cascade", 0.7), ("single-stage", 0.5)):
            made_row(store, strategy, skill, board=made_board("films", n=60))
        made_row(store, "cascade", 0.7, board=made_board("fer2013", n=60), groups=0)
    return path


def publish(path: Path, folder: Path, *words: str) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(root, ["publish", str(folder), "--store", str(path), *words])


def test_a_site_is_written_and_brought_up_to_date(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = publish(path, Path("site"), "--title", "Ours")
    assert done.exit_code == 0, done.output
    assert "site: 2 boards, 3 rows," in done.stdout and "open site/index.html" in done.stdout
    assert "not shown of fer2013: pictures of samples\n" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80 and not done.stderr
    index = (tmp_path / "site/index.html").read_text("utf-8")
    assert "<h1><bdi>Ours</bdi></h1>" in index
    # The figures of papers on FER2013 stand beside its board.
    fer = next(each for each in (tmp_path / "site").glob("boards/*/index.html") if "fer2013" in each.read_text("utf-8"))
    assert "Reported, not reproduced" in fer.read_text("utf-8")
    less = publish(path, Path("site"), "--where", "target=films", "--no-references", "--json")
    said = json.loads(less.stdout)
    assert [board["target"] for board in said["boards"]] == ["films"] and said["rows"] == 2
    assert said["removed"] > 5 and not fer.parent.exists() and said["index"] == "site/index.html"
    written = [each for each in (tmp_path / "site").rglob("*") if each.is_file()]
    assert said["files"] == len(written) and said["size_bytes"] == sum(each.stat().st_size for each in written)


def test_what_is_published_beyond_a_licence_is_said_loudly(path: Path, tmp_path: Path) -> None:
    done = publish(path, tmp_path / "site", "--with", "ids,Groups", "--json")
    assert done.exit_code == 0, done.output
    warnings = done.stderr.splitlines()
    assert len(warnings) == 2 and all(line.startswith("warning: published of ") for line in warnings)
    beyond = {board["target"]: board["beyond_licence"] for board in json.loads(done.stdout)["boards"]}
    assert beyond == {"films": ["ids", "groups"], "fer2013": ["groups"]}
    assert "films-0" not in index_text(publish(path, tmp_path / "other"), tmp_path / "other")
    assert "film1" in index_text(done, tmp_path / "site")


def index_text(done: Result, folder: Path) -> str:
    """All pages of a site."""
    assert done.exit_code == 0, done.output
    return "".join(each.read_text("utf-8") for each in folder.rglob("*.html"))


def test_a_snapshot_is_published_without_a_store(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "kept.sqlite")) as store:
        save(store, *(kept_run(strategy, seed) for strategy in ("cascade", "single-stage") for seed in (0, 1)))
        save(store, failed_run("lost"))
    words = ["snapshot", str(tmp_path / "kept"), "--store", str(tmp_path / "kept.sqlite")]
    done = CliRunner().invoke(root, words)
    assert done.exit_code == 0 and (tmp_path / "kept/leaderboard.html").exists(), done.output
    assert says(done.stdout, "kept: 2 rows, 1 failed, 5 runs")
    assert "films: 2 rows, 1 failed, 5 runs" in (tmp_path / "kept/leaderboard.html").read_text("utf-8")
    nowhere = tmp_path / "none.sqlite"
    done = publish(nowhere, tmp_path / "site", "--snapshot", str(tmp_path / "kept"), "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["rows"] == 2, done.output
    again = publish(nowhere, tmp_path / "site", "--snapshot", str(tmp_path / "kept"))
    assert says(again.stdout, "site: 1 board, 2 rows, 1 failed")
    assert not nowhere.exists() and str(tmp_path) not in index_text(done, tmp_path / "site")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--with", "faces"), "--with 'faces': there is ids, groups, pictures"),
        (("--with", "pictures", "--no-pictures"), "--with pictures and --no-pictures: give one of them"),
        (("--where", "target=nobody"), "no row fits target=nobody"),
        (("0123456789",), "0123456789"),
        (("--snapshot", "."), "is no snapshot, it holds no runs.jsonl: name a folder of `ferbench snapshot`"),
    ],
)
def test_what_cannot_be_published_writes_nothing(path: Path, tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    done = publish(path, tmp_path / "site", *words)
    assert done.exit_code in (1, 2) and line in " ".join(done.stderr.split()) and not (tmp_path / "site").exists()


def test_a_folder_with_something_else_is_refused_until_it_is_forced(path: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    refused = publish(path, tmp_path)
    assert refused.exit_code == 2 and "--force" in refused.stderr
    assert [each.name for each in tmp_path.iterdir() if each.name != "home"] == ["mine.txt"]
    assert publish(path, tmp_path, "--force").exit_code == 0
    assert (tmp_path / "mine.txt").read_text() == "mine" and (tmp_path / "index.html").exists()
