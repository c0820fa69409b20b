"""What a licence withholds: no name gets into a snapshot's bytes, every figure still follows, rows still meet."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from kept_rows import BOARD, failed_run, kept_run, rows_of, save
from tiny import Bench, bar_dataset, tiny_catalog

from ferbench.catalog import Catalog
from ferbench.cli import root
from ferbench.competitors import Question, choose, compare_boards, name_competitors, read_answers
from ferbench.components import PERMITS, Permit
from ferbench.merging import merge
from ferbench.plan import _LATER
from ferbench.pseudonyms import are_numbers, numbered_groups, numbered_ids, same_groups, same_names
from ferbench.recipes import Recipe
from ferbench.row_filter import parse_where
from ferbench.settings import Settings
from ferbench.snapshot import read_snapshot, read_store, write_snapshot
from ferbench.snapshot.derived import derived
from ferbench.snapshot.layout import LATER
from ferbench.snapshot.licence import Names, permits_of
from ferbench.snapshot.redaction import withheld
from ferbench.stages import Stage
from ferbench.store import KeptRun, Store, open_store
from ferbench.verification import Verifier

FILES = ("runs.jsonl", "predictions.csv.gz")


def bytes_of(folder: Path) -> bytes:
    """Both files of a snapshot, unpacked."""
    return (folder / FILES[0]).read_bytes() + gzip.decompress((folder / FILES[1]).read_bytes())


def everything(dataset: str) -> Collection[Permit]:
    return PERMITS


# Numbers in the place of names


@given(st.lists(st.sampled_from(["Up", "Alien", "group 1", "group 2", "", "Ägypten"]), max_size=12).map(tuple))
def test_groups_keep_who_is_together_and_lose_their_names(groups: tuple[str, ...]) -> None:
    numbers = numbered_groups(groups)
    for place, one in enumerate(groups):
        for other, name in enumerate(groups):
            assert (one == name) == (numbers[place] == numbers[other])
    seen = list(dict.fromkeys(numbers))
    assert seen == [f"group {number}" for number in range(1, len(seen) + 1)]
    assert numbered_groups(numbers) == numbers
    # Other names for the same groups are the same numbers: nothing of a name is left.
    assert numbered_groups(tuple(f"z{group}" for group in groups)) == numbers
    assert same_groups(groups, numbers) and same_groups(numbers, groups)


def test_what_is_the_same_and_what_is_not() -> None:
    assert numbered_ids(3) == ("1", "2", "3") and are_numbers(("1", "2")) and not are_numbers(("2", "1"))
    assert same_names(("a", "b"), ("1", "2")) and same_names(("1", "2"), ("a", "b"))
    assert not same_names(("a", "b"), ("b", "a")) and not same_names(("a",), ("1", "2"))
    assert not same_groups(("a", "a"), ("group 1", "group 2")) and not same_groups(None, ("a",))
    assert same_groups(None, None)


# What licences permit


def test_a_licence_is_looked_up_by_the_reference_and_unknown_ones_permit_nothing() -> None:
    open_data = dataclasses.replace(bar_dataset("open", 4), licence_permits=PERMITS)
    permits = permits_of(tiny_catalog(open_data).dataset)
    assert set(permits("open")) == set(permits("open:tr+va")) == set(PERMITS)
    assert set(permits("fer2013:train")) == {"ids"}
    for unknown in ("small", "gone", "open:nowhere", "folder:…/faces", "", "\x00"):
        assert not permits(unknown), unknown
    assert set(permits_of(Catalog.load().dataset)("faces3d-source@500")) >= {"ids", "groups"}


def test_each_dataset_of_a_row_by_its_own_licence() -> None:
    kept = kept_run(further=True)
    allowed: dict[str, Collection[Permit]] = {"stills": ("ids",), "films": ("groups",)}
    public = withheld(kept, lambda dataset: allowed.get(dataset, ()))
    for (_, content), own in public.predictions.items():
        whole = next(each for (_, other), each in kept.predictions.items() if other == content)
        assert (own.ids == whole.ids) == (own.dataset == "stills")
        assert are_numbers(own.ids) == (own.dataset != "stills")
        # Only films have groups, and they may be named.
        assert own.groups == whole.groups
    assert withheld(public, lambda dataset: ()).predictions[
        public.run.stages[-1], BOARD.fingerprint
    ].ids == numbered_ids(30)


def test_errors_and_notes_name_no_sample() -> None:
    lost = failed_run()
    line = "row 12: Anna_003 was in row 4"
    notes = (
        *("on Alice_1.JPG", "read Bridget Jones 001.png twice", 'Train/Anna (2).jp2, then Bob\'s "1".PNM'),
        *("sample 'Alice-7' of \"Up\": don't use r18 at 1e-3", "micro-batch 4 of 8"),
    )
    lost = dataclasses.replace(lost, run=dataclasses.replace(lost.run, error=line, notes=notes))
    public = withheld(lost, lambda dataset: ("ids",))
    assert public.run.error == "withheld: it may name a sample (see the store that it comes from)"
    assert public.run.notes == ("…", "… twice", "…", "sample … of …: don't use r18 at 1e-3", "micro-batch 4 of 8")
    assert withheld(public, lambda dataset: ()) == public
    assert withheld(lost, everything) == lost


# The whole way


def renamed(kept: KeptRun) -> KeptRun:
    """A row of a gated dataset: film names that sort otherwise than their first samples stand."""
    films = ("Zoë's film", "Mission", "Alien", "Heat")
    known = {}
    for name, each in kept.predictions.items():
        ids = tuple(f"{films[number % 4]}_{number:04}.png" for number in range(len(each.ids)))
        groups = None if each.groups is None else tuple(films[number % 4] for number in range(len(each.ids)))
        known[name] = dataclasses.replace(each, ids=ids, groups=groups)
    return derived(dataclasses.replace(kept, predictions=known))


@pytest.fixture
def true(tmp_path: Path) -> Store:
    """A store of gated rows."""
    store = open_store(str(tmp_path / "true.sqlite"))
    save(store, *map(renamed, (kept_run(seed=0), kept_run(seed=1), kept_run("other"), kept_run("other", seed=1))))
    return store


def test_no_name_is_left_and_every_figure_follows(true: Store, tmp_path: Path) -> None:
    written = write_snapshot(tmp_path / "out", read_store(true).runs)
    text = bytes_of(tmp_path / "out").decode()
    for name in ("Zoë", "Mission", "Alien", "Heat", ".png"):
        assert name not in text
    assert written.withheld == (
        *(Names("films", "Train (held out)", ("ids",)), Names("films", "Val", ("ids", "groups"))),
        Names("stills", "Test", ("ids",)),
    )
    first = json.loads(text.splitlines()[0])
    assert first["format"] == 1 and {"content": BOARD.fingerprint, "names": ["ids", "groups"]} in first["withheld"]
    found = read_snapshot(tmp_path / "out")
    assert not found.refused and len(found.runs) == 4
    together: dict[str, set[int]] = defaultdict(set)
    for number, group in enumerate(found.runs[0].report.groups or ()):
        together[group].add(number % 4)
    assert sorted(together) == [f"group {number}" for number in range(1, 5)]
    assert all(len(films) == 1 for films in together.values())
    for mine, theirs in zip(read_store(true).runs, found.runs, strict=True):
        for own, other in zip(mine.run.scores, theirs.run.scores, strict=True):
            assert other.value == pytest.approx(own.value, abs=2e-6)
        assert mine.run.predictions_sha256 != theirs.run.predictions_sha256
        np.testing.assert_allclose(mine.report.probabilities, theirs.report.probabilities, rtol=1e-5)
    # With names, they are there, and no field speaks of any that are not.
    write_snapshot(tmp_path / "named", read_store(true).runs, everything)
    assert "Zoë" in bytes_of(tmp_path / "named").decode()
    assert bytes_of(tmp_path / "named").splitlines()[0] == b'{"format":1,"kind":"snapshot"}'


def test_rows_with_and_without_names_meet_in_either_order(true: Store, tmp_path: Path) -> None:
    runs = read_store(true).runs
    write_snapshot(tmp_path / "numbers", runs)
    # Back to where it came from: it is there already, and nothing there is changed.
    before = rows_of(tmp_path / "true.sqlite")
    outcome = merge(true, str(tmp_path / "numbers"))
    assert (len(outcome.merged), outcome.already_there, outcome.clean) == (0, 4, True)
    assert rows_of(tmp_path / "true.sqlite") == before

    half = [kept for kept in runs if kept.run.cell.strategy == "other"]
    write_snapshot(tmp_path / "half", half)
    with open_store(str(tmp_path / "mixed.sqlite")) as mixed:
        # One row of the board without names, then all with them.
        assert len(merge(mixed, str(tmp_path / "half")).merged) == 2
        outcome = merge(mixed, true.location)
        assert (len(outcome.merged), outcome.already_there, outcome.clean) == (2, 2, True)
        groups = {kept.run.cell.strategy: kept.report.groups for kept in read_store(mixed).runs}
        assert groups["other"] == numbered_groups(groups["cascade"] or ())
        assert groups["cascade"] is not None and "Alien" in groups["cascade"]
        again = merge(mixed, str(tmp_path / "numbers"))
        assert (again.already_there, again.clean) == (4, True)
        # They are compared, as those with names are; only the draws over films are others.
        differences = [compared(store) for store in (mixed, true)]
        assert differences[0] == pytest.approx(differences[1], abs=1e-5)
        # Written again without names, it is the same snapshot.
        write_snapshot(tmp_path / "again", read_store(mixed).runs)
        assert bytes_of(tmp_path / "again") == bytes_of(tmp_path / "numbers")


def compared(store: Store) -> float:
    question = Question((), parse_where(("backbone=tiny",)), ())
    chosen, _ = choose(question, store.leaderboard_rows())
    named, _ = name_competitors(question, chosen)
    [pair] = compare_boards([read_answers(board, store.run_predictions) for board in named], draws=100).pairs
    assert pair.groups == 4
    return abs(pair.difference)


def test_groups_that_are_others_are_refused_whatever_they_are_called(true: Store, tmp_path: Path) -> None:
    """Numbers are no disguise: who puts samples together otherwise does not speak of the same ones."""
    forged = kept_run("forged")
    known = dict(forged.predictions)
    report = known[forged.run.stages[-1], BOARD.fingerprint]
    known[forged.run.stages[-1], BOARD.fingerprint] = dataclasses.replace(report, groups=tuple(["group 1"] * 30))
    write_snapshot(tmp_path / "forged", [dataclasses.replace(forged, predictions=known)])
    [refused] = merge(true, str(tmp_path / "forged")).refused
    assert "its groups are not those that are here" in refused.reason


def test_a_row_without_names_is_verified_where_the_data_is(bench: Bench, tmp_path: Path) -> None:
    bench.run("cascade")
    write_snapshot(tmp_path / "out", read_store(bench.store).runs)
    settings = Settings(str(tmp_path / "new.sqlite"), bench.folder / "data", bench.folder / "cache", "cpu")
    with open_store(settings.store) as store:
        assert merge(store, str(tmp_path / "out")).clean
        [row] = dict.fromkeys(run.row for run in store.runs())
        [found] = Verifier(bench.catalog, store, settings, infer=True).rows([row])
        wrong = [check for check in found.checks if check.ok is False]
        assert not wrong
        unknown = [check.detail for check in found.checks if check.ok is None]
        assert any("small te: ids and groups, which were withheld where the row comes from" in each for each in unknown)
        assert any(check.ok and "probabilities at most" in check.detail for check in found.checks)


def test_fields_that_came_later_are_left_out_and_read_as_they_were(tmp_path: Path) -> None:
    """So an older ferbench, which refuses fields that it does not know, reads rows that do without them."""
    write_snapshot(tmp_path, [kept_run()])
    text = bytes_of(tmp_path).decode()
    defaults = {record.__name__: {f.name: f.default for f in dataclasses.fields(record)} for record in (Recipe, Stage)}
    for (kind, name), value in LATER.items():
        assert f'"{name}":' not in text, (kind, name)
        # What is left out here is what a reader takes, and what plans leave out of a stage's name.
        assert defaults[kind][name] == value, (kind, name)
    assert {name: value for (kind, name), value in LATER.items() if kind == "Recipe"}.items() <= _LATER.items()
    assert {name: defaults["Recipe"][name] for name in _LATER} == _LATER
    [read] = read_snapshot(tmp_path).runs
    assert read.run.cell.recipe == kept_run().run.cell.recipe
    changed = kept_run()
    recipe: dict[str, Any] = {name: "crop" for (kind, name) in LATER if (kind, name) == ("Recipe", "faces")}
    cell = dataclasses.replace(changed.run.cell, recipe=dataclasses.replace(changed.run.cell.recipe, **recipe))
    write_snapshot(tmp_path, [dataclasses.replace(changed, run=dataclasses.replace(changed.run, cell=cell))])
    [read] = read_snapshot(tmp_path).runs
    assert read.run.cell.recipe.faces == "crop"


# The command


def test_the_command_says_what_is_withheld_and_what_is_not(
    true: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FERBENCH_STORE", true.location)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0) -> Any:
        result = CliRunner().invoke(root, ["snapshot", *arguments], prog_name="ferbench")
        assert result.exit_code == code, result.output
        return result

    said = call("out")
    assert max(map(len, said.stdout.splitlines())) <= 80
    words = " ".join(said.stdout.split())
    assert "withheld: the ids of samples of films Train (held out), films Val and stills Test " in words
    assert "withheld: the names of films or people of films Val numbers stand in their place" in words
    assert not said.stderr
    for page in ("leaderboard.md", "leaderboard.html"):
        assert "Alien" not in Path("out", page).read_text("utf-8")
    assert "numbers stand in the place of the names of films or people of films Val" in Path(
        "out", "leaderboard.md"
    ).read_text("utf-8")

    loud = call("named", "--with", "ids, groups")
    assert "withheld" not in loud.stdout
    assert "PUBLISHED AGAINST THE LICENCE: the ids of samples of films Train (held out), films Val and" in loud.stderr
    assert "; the names of films or people of films Val. No licence known here permits it" in loud.stderr
    assert "Alien" in gzip.decompress(Path("named", FILES[1]).read_bytes()).decode()
    found = json.loads(call("named", "--with", "groups", "--json").stdout)
    assert {"dataset": "films", "split": "Val", "names": ["groups"]} in found["against_licence"]
    assert {"dataset": "films", "split": "Val", "names": ["ids"]} in found["withheld"]
    assert "--with 'pictures': a snapshot holds ids and groups" in call("out", "--with", "pictures", code=2).output
