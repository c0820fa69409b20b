"""What is cut of names, and that no note and no error names a sample that may not be named."""

from __future__ import annotations

import dataclasses

import pytest
from kept_rows import kept_run

from ferbench.components import Permit
from ferbench.evidence import Forgetting
from ferbench.records import Entry, Interval, RunSummary
from ferbench.snapshot.licence import Permits
from ferbench.snapshot.redaction import (
    cut,
    name_without_folders,
    published,
    withheld_entry,
    withheld_summary,
    without_folders,
    without_location,
)

#: No part of a path may be left of these.
OWNER = "Jane Doe"
WITHHELD = "withheld: it may name a sample (see the store that it comes from)"
NAMED = "cannot read 'Train/Angry/Alex_0044.png' or Alex_7.jpg, 3 times"


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("/Users/Jane Doe/faces/x.pt", "…/x.pt"),
        ("folder:/srv/Jane Doe/set", "folder:…/set"),
        ("folder:/srv/Jane Doe/my set:train", "folder:…/my set:train"),
        ("folder:/home/Jane Doe", "folder:~"),
        ("folder:/home/Jane Doe/", "folder:~"),
        ("/Users/Jane Doe:train", "~:train"),
        ("/Jane Doe/a.pt + /Jane Doe/b.pt", "…/a.pt + …/b.pt"),
        ("hf//srv/Jane Doe/face", "hf/…/face"),
        (r"C:\Users\Jane Doe", "~"),
        (r"C:\Users\Jane Doe\w.pt", "…/w.pt"),
        (r"\\server\Jane Doe\my w.pt", "…/my w.pt"),
        ("~/Jane Doe's/x.csv", "…/x.csv"),
        ("manifest:/srv/a\nb/c", "manifest:…/c"),
        ("folder:my faces/set", "folder:my faces/set"),
        ("https://example.org/a b/c", "https://example.org/a b/c"),
        # Without such signs, as in all texts.
        ("folder:/home/me/data/faces/", "folder:…/faces/"),
        ("hfds:user/data", "hfds:user/data"),
    ],
)
def test_a_name_loses_its_folders_whatever_they_are_called(name: str, left: str) -> None:
    assert name_without_folders(name) == left == name_without_folders(left) == without_location(name)
    assert set(name) & set(" '\n") or without_folders(name) == left


def test_every_field_that_is_a_name_is_cut_as_one() -> None:
    kept = kept_run(further=True)
    where = f"folder:/srv/{OWNER}/set"
    cell = dataclasses.replace(
        kept.run.cell, backbone=f"hf//srv/{OWNER}/n", target=where, auxiliaries=(where,), weights=f"/{OWNER}/a b/w.pt"
    )
    board = dataclasses.replace(kept.run.board, target=where)  # type: ignore[type-var]
    lost = Forgetting(where, "Test", 25, "c", "s", 0.0, 0.0, "0", "0")
    parts = [dataclasses.replace(part, dataset=where) for stage, _ in kept.stages for part in stage.parts]
    stages = [(dataclasses.replace(stage, parts=tuple(parts)), result) for stage, result in kept.stages]
    kept = dataclasses.replace(
        kept,
        run=dataclasses.replace(kept.run, cell=cell, board=board, forgetting=(lost,)),
        stages=tuple(stages),
        predictions={key: dataclasses.replace(each, dataset=where) for key, each in kept.predictions.items()},
        further=tuple([(stage, dataclasses.replace(each, dataset=where)) for stage, each in kept.further]),
    )
    public = published(kept)
    assert "Doe" not in repr(public) and OWNER in repr(kept)
    assert public.run.cell.target == "folder:…/set" and public.run.cell.backbone == "hf/…/n"
    assert cut(summary(target=where)).target == "folder:…/set"


def summary(**changes: object) -> RunSummary:
    values: dict[str, object] = {"entry": "e" * 64, "status": "failed", "board": None, "backbone": "tiny"}
    values |= {
        "strategy": "cascade",
        "target": "films",
        "auxiliaries": ("stills",),
        "weights": "random",
        "device": "cpu",
    }
    values |= dict.fromkeys(("image_size", "seed", "images_seen", "train_seconds"), 0)
    values |= dict.fromkeys(("accuracy", "uar", "macro_f1"))
    return RunSummary(**{**values, **changes})  # type: ignore[arg-type]


def test_notes_and_errors_name_no_sample_of_any_dataset_that_withholds_something() -> None:
    run = summary(error=NAMED, notes=(NAMED, "1 seed"))
    mean = Interval(0.5, None, 0.4, 0.6, "wilson")
    values = {"row": "e" * 10, "rank": 1, "images_seen": 1, "train_seconds": 1.0, "seeds": (0,)}
    same = {name: getattr(run, name) for name in ("backbone", "strategy", "auxiliaries", "weights", "image_size")}
    entry = Entry(
        **values, **same, device="cpu", accuracy=mean, uar=mean, macro_f1=mean, notes=(NAMED, f"2 runs failed: {NAMED}")
    )  # type: ignore[arg-type]
    films: dict[str, tuple[Permit, ...]] = {"films": ("ids", "groups"), "stills": ("ids",)}
    some: Permits = lambda dataset: films.get(dataset, ())  # noqa: E731
    public = withheld_summary(run, some)
    assert public.error == WITHHELD and public.notes == ("…, 3 times", "1 seed")
    assert withheld_entry(entry, "films", some).notes == ("…, 3 times", f"2 runs failed: {WITHHELD}")
    assert withheld_summary(run, lambda dataset: ("ids", "groups")) == run
    assert withheld_entry(entry, "films", lambda dataset: ("ids", "groups")) == entry
