"""`ferbench cache` end to end: real rows, their checkpoints, and what the board says when these are gone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny import Bench, matrix, tiny_catalog

from ferbench.cache.pruning import Kept, keep_within
from ferbench.cli import root
from ferbench.errors import StoreError
from ferbench.fingerprints import fingerprint
from ferbench.inference import Inference
from ferbench.publish.cache import kept_warnings
from ferbench.records import Run
from ferbench.settings import Settings
from ferbench.store import open_store

FOREIGN = fingerprint("a stage of another store")

Call = Callable[..., Result]


@pytest.fixture
def trained(make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> tuple[Bench, Run]:
    """One row, with the environment that makes the commands find it."""
    bench = make_bench()
    (run,) = bench.run("target-only", auxiliaries=((),)).finished
    monkeypatch.setenv("FERBENCH_STORE", str(bench.folder / "board.sqlite"))
    monkeypatch.setenv("FERBENCH_CACHE", str(bench.folder / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    return bench, run


@pytest.fixture
def cache() -> Call:
    """Calls `ferbench cache`; on a terminal where `answers` are given."""

    def call(*arguments: str, code: int = 0, answers: str | None = None) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ferbench.cli.cache._may_ask", lambda: answers is not None)
            result = CliRunner().invoke(root, ["cache", *arguments], input=answers, prog_name="ferbench")
        assert result.exit_code == code, result.output
        if "--json" not in arguments:
            assert all(len(line) <= 80 or "/" in line for line in result.stdout.splitlines()), result.stdout
        return result

    return call


def checkpoint(bench: Bench, stage: str) -> Path:
    return bench.folder / "cache" / "checkpoints" / f"{stage}.safetensors"


def foreign(bench: Bench) -> Path:
    path = checkpoint(bench, FOREIGN)
    path.write_bytes(b"x" * 100)
    return path


def notes(bench: Bench) -> tuple[str, ...]:
    (summary,) = bench.store.leaderboard_rows()
    return summary.notes


def test_list_adds_up(trained: tuple[Bench, Run], cache: Call) -> None:
    bench, run = trained
    foreign(bench)
    shown = json.loads(cache("list", "--json").stdout)
    files = [path for path in (bench.folder / "cache").rglob("*") if path.is_file()]
    assert shown["bytes"] == sum(path.stat().st_size for path in files)
    assert shown["bytes"] == sum(kind["bytes"] for kind in shown["kinds"])
    assert shown["bytes"] == sum(entry["bytes"] for entry in shown["entries"])
    assert shown["bound_bytes"] == 50 * 10**9
    (kind,) = (each for each in shown["kinds"] if each["kind"] == "checkpoints")
    assert kind["count"] == 2 and kind["oldest_use_at"] <= kind["newest_use_at"]
    checkpoints = [entry for entry in shown["entries"] if entry["kind"] == "checkpoints"]
    fates = {entry["name"]: (entry["fate"], entry["rows"]) for entry in checkpoints}
    assert fates == {run.stages[-1]: ("board", [run.row]), FOREIGN: ("unknown", [])}


def test_list_in_words(trained: tuple[Bench, Run], cache: Call) -> None:
    bench, run = trained
    foreign(bench)
    os.utime(checkpoint(bench, FOREIGN), (1_000_000, 1_000_000))
    text = cache("list").stdout
    assert re.search(r"^checkpoints +2 +\S+ k?B +just now +\d{5} d ago$", text, re.MULTILINE)
    assert "100 B: checkpoints that this store does not know" in text
    assert "checkpoints of rows on the board" in text and run.row not in text
    every = cache("list", "--all").stdout
    assert re.search(rf"^checkpoints +{run.stages[-1][:10]} .* row {run.row}$", every, re.MULTILINE)
    assert re.search(rf"^checkpoints +{FOREIGN[:10]} .* another store$", every, re.MULTILINE)


def test_nothing_is_there_yet(cache: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERBENCH_STORE", str(tmp_path / "none.sqlite"))
    monkeypatch.setenv("FERBENCH_CACHE", str(tmp_path / "nowhere"))
    assert "nowhere: 0 B, kept within 50.0 GB" in " ".join(cache("list").stdout.split())
    assert cache("prune").stdout == "nothing to remove\n"
    assert cache("verify").stdout == "0 entries whole\n"
    assert list(tmp_path.iterdir()) == []


def test_prune_to_nothing_asks_about_the_row_and_marks_it(trained: tuple[Bench, Run], cache: Call) -> None:
    bench, run = trained
    final = checkpoint(bench, run.stages[-1])
    stranger = foreign(bench)
    refused = cache("prune", "--to", "0", answers="n\n")
    asked = " ".join(refused.output.split())
    assert f"checkpoints of rows on the board ({run.row})" in asked
    assert "cannot predict or be verified in depth until they are run again. Remove 1 checkpoint, " in asked
    # What is made again went without asking; what another store may need is not even offered.
    assert final.exists() and stranger.exists()
    assert not any((bench.folder / "cache" / "splits").iterdir())
    assert "checkpoint pruned" not in notes(bench)
    cache("prune", "--to", "0", answers="y\n")
    assert not final.exists() and stranger.exists()
    assert notes(bench)[-1] == "checkpoint pruned"
    assert "checkpoint pruned" in " ".join(CliRunner().invoke(root, ["leaderboard"]).stdout.split())


def test_without_a_terminal_the_rest_needs_yes(trained: tuple[Bench, Run], cache: Call) -> None:
    bench, run = trained
    final = checkpoint(bench, run.stages[-1])
    result = cache("prune", "--to", "0", code=2)
    assert "no terminal to ask about the rest: give --yes" in result.stderr
    assert final.exists() and not any((bench.folder / "cache" / "splits").iterdir())
    cache("prune", "--to", "0", "--yes")
    assert not final.exists() and notes(bench)[-1] == "checkpoint pruned"


def test_dry_run_removes_nothing(trained: tuple[Bench, Run], cache: Call) -> None:
    bench, run = trained
    before = sorted(bench.folder.rglob("*"))
    text = " ".join(cache("prune", "--to", "0", "--unknown", "--dry-run").stdout.split())
    assert f"1 checkpoint, {checkpoint(bench, run.stages[-1]).stat().st_size / 1000:.1f} kB" in text
    assert f"checkpoints of rows on the board ({run.row})" in text
    assert sorted(bench.folder.rglob("*")) == before


def test_prune_takes_what_is_named_alone(trained: tuple[Bench, Run], cache: Call) -> None:
    bench, run = trained
    (second,) = bench.run("target-only", auxiliaries=((),), recipe={"lr": 0.02}).finished
    stranger = foreign(bench)
    (bench.folder / "cache" / "features").mkdir(exist_ok=True)
    features = bench.folder / "cache" / "features" / f"{FOREIGN}.npy"
    features.write_bytes(b"x" * 50)
    assert "removed 1 set of features, 50 B" in cache("prune", "--kind", "features").stdout
    assert not features.exists()
    cache("prune", "--unknown", "--yes")
    assert not stranger.exists()
    cache("prune", "--row", run.row[:6], answers="y\n")
    assert not checkpoint(bench, run.stages[-1]).exists() and checkpoint(bench, second.stages[-1]).exists()
    assert [row.notes[-1] == "checkpoint pruned" for row in bench.store.leaderboard_rows()] == [True, False]
    assert any((bench.folder / "cache" / "splits").iterdir())
    assert "no row named" in cache("prune", "--row", "zzzz", code=2).stderr


def test_prune_stops_at_the_size(trained: tuple[Bench, Run], cache: Call) -> None:
    bench, _ = trained
    total = json.loads(cache("list", "--json").stdout)["bytes"]
    folder = bench.folder / "cache" / "features"
    folder.mkdir(exist_ok=True)
    for number in range(3):
        path = folder / f"{fingerprint(number)}.npy"
        path.write_bytes(b"x" * 500)
        os.utime(path, (1000 + number, 1000 + number))
    cache("prune", "--to", f"{total + 600}B")
    assert [path.name for path in folder.iterdir()] == [f"{fingerprint(2)}.npy"]


def test_a_pruned_row_says_why_it_cannot_predict_and_comes_back(trained: tuple[Bench, Run], cache: Call) -> None:
    bench, run = trained
    cache("prune", "--kind", "checkpoints", "--yes")
    settings = Settings(str(bench.folder / "board.sqlite"), bench.folder / "data", bench.folder / "cache", "cpu")
    with pytest.raises(StoreError) as caught:
        Inference(tiny_catalog(), settings).predictions(run, "train", bench.store)
    assert caught.value.line == (
        f"row {run.row}, seed 0 cannot predict: its checkpoint was pruned from the cache to make room; run that cell "
        "again with --force"
    )
    bench.run("target-only", auxiliaries=((),), force=True)
    assert "checkpoint pruned" not in notes(bench)
    Inference(tiny_catalog(), settings).predictions(run, "train", bench.store)


def test_verify_finds_one_flipped_byte(trained: tuple[Bench, Run], cache: Call) -> None:
    bench, run = trained
    assert re.fullmatch(r"\d+ entries whole\n", cache("verify").stdout)
    assert json.loads(cache("verify", "--json").stdout)["ok"] is True
    final = checkpoint(bench, run.stages[-1])
    content = bytearray(final.read_bytes())
    content[len(content) // 2] ^= 1
    final.write_bytes(bytes(content))
    text = cache("verify", code=1).stdout
    assert f"checkpoints {run.stages[-1][:10]} is not the file that was stored" in text and "1 broken" in text
    found = json.loads(cache("verify", "--json", code=1).stdout)
    assert [(fault["kind"], fault["name"]) for fault in found["faults"]] == [("checkpoints", run.stages[-1])]
    assert "is not the file that was stored" in found["faults"][0]["fault"]


def test_verify_tells_rows_whose_checkpoints_are_elsewhere(trained: tuple[Bench, Run], cache: Call) -> None:
    bench, run = trained
    checkpoint(bench, run.stages[-1]).unlink()
    assert f"not here: checkpoints of 1 row on the board ({run.row})" in cache("verify").stdout
    bench.store.mark_pruned(run.stages)
    assert "not here" not in cache("verify").stdout


def test_parents_are_free_and_those_of_what_failed_are_not(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    (run,) = bench.run("cascade").finished
    parent, final = run.stages
    needs = bench.store.checkpoint_needs()
    assert (needs.finals, needs.unfinished) == ({final: (run.row,)}, frozenset())
    assert needs.known == {parent, final}
    # Stopped after its first stage: nothing but the store's stages tells of it.
    stopped = make_bench(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        stopped.run("cascade", seeds=(1,))
    (waiting,) = bench.store.checkpoint_needs().unfinished
    assert waiting not in run.stages
    (again,) = bench.run("cascade", seeds=(1,)).finished
    assert again.stages[0] == waiting and not bench.store.checkpoint_needs().unfinished


def test_what_an_interrupted_force_has_trained_stays_until_it_ends(trained: tuple[Bench, Run]) -> None:
    bench, run = trained
    (stage,) = run.stages
    partial = bench.folder / "cache" / "partials" / f"{stage}.safetensors"
    bench.engine._cache_bytes = 0
    prepared = bench.engine.prepare(matrix("target-only", auxiliaries=((),)), force=True, calibrate=False)
    asked = iter(range(100))
    with pytest.raises(KeyboardInterrupt):
        bench.engine.run(prepared, force=True, stop=lambda: next(asked) == 3)
    assert bench.store.stage_result(stage) is not None and partial.exists()
    # Another row, and the same one unforced, each with a bound that nothing fits in.
    bench.run("target-only", auxiliaries=((),), recipe={"lr": 0.02})
    assert not bench.run("target-only", auxiliaries=((),)).finished
    assert partial.exists()
    (again,) = bench.run("target-only", auxiliaries=((),), force=True).finished
    result = bench.store.stage_result(stage)
    assert result is not None and 0 < result.resumed_at < result.images_seen
    assert again.stages == run.stages and again.scores == run.scores
    assert list(partial.parent.iterdir()) == []


def test_a_full_cache_is_one_warning(trained: tuple[Bench, Run]) -> None:
    bench, run = trained
    foreign(bench)
    kept = keep_within(bench.folder / "cache", 0, bench.store.checkpoint_needs)
    size = checkpoint(bench, run.stages[-1]).stat().st_size
    assert kept.staying == {"board": size, "unknown": 100}
    (line,) = kept_warnings(kept)
    assert line == (
        f"the cache folder takes {(size + 100) / 1000:.1f} kB, more than FERBENCH_CACHE_SIZE=0B (checkpoints that this "
        f"store does not know 100 B and checkpoints of rows on the board {size / 1000:.1f} kB): `ferbench cache prune` "
        "shows what can go"
    )
    assert kept_warnings(Kept(50 * 10**9, 10)) == []
    assert "FERBENCH_CACHE_SIZE=1.5GB" in kept_warnings(Kept(1_500_000_000, 10**10, (), {"board": 10**10}))[0]


def test_a_store_that_is_only_read_keeps_its_checkpoints(trained: tuple[Bench, Run], cache: Call, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    bench, run = trained

    def refuse(url: str, *, read_only: bool = False):  # type: ignore[no-untyped-def]
        if not read_only:
            raise StoreError("the store is read-only")
        return open_store(url, read_only=True)

    monkeypatch.setattr("ferbench.store.open_store", refuse)
    assert "the store is read-only" in cache("prune", "--row", run.row, "--yes", code=1).stderr
    assert checkpoint(bench, run.stages[-1]).exists()


@pytest.mark.parametrize("size", ["20", "many", "20 bananas", "-1GB", "1e3GB"])
def test_sizes_that_are_none(cache: Call, size: str) -> None:
    assert "--to is" in cache("prune", "--to", size, code=2).stderr


def test_whatever_a_run_leaves_is_whole(trained: tuple[Bench, Run], cache: Call) -> None:
    bench, _ = trained
    bench.run("cascade linear-probe lp-ft", recipe={"images_seen": 32})
    found = json.loads(cache("verify", "--json").stdout)
    assert found["ok"] and found["checked"] == len(json.loads(cache("list", "--json").stdout)["entries"]) >= 5
