"""Runs on pictures that are cut to their faces: what is trained and reported, what is kept, and what rows say."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import Bench, bar_dataset, matrix, tiny_catalog

from ferbench import Dataset, Face, FaceDetector, Samples, hookimpl
from ferbench.catalog import Catalog
from ferbench.errors import DetectorMissing, DuplicateName, PluginError, UnknownName, UsageError
from ferbench.faces import cut, found_faces, main_face
from ferbench.inference import Inference
from ferbench.matrix import parse_axis
from ferbench.plugin_source import Plugin
from ferbench.records import Predictions, Run
from ferbench.settings import Settings
from ferbench.training import Progress
from ferbench.verification import Verifier

FINDER = {"faces": "crop", "face_detector": "finder"}


def find(image: np.ndarray) -> list[Face]:
    """One face, where the first pixel says where; none in every fifth picture or so."""
    value = int(image[0, 0, 0])
    return [Face((1 + value % 3, value % 4, 7, 8), 0.9)] if value % 5 else []


def lacking(image: np.ndarray) -> list[Face]:
    raise PluginError("face detector finder needs eyes: pip install eyes")


class Finder:
    """A plugin with a face detector that counts what it is shown."""

    def __init__(self, version: int = 1, **fields: object) -> None:
        self.looked: list[bytes] = []
        self._fields = fields
        self._version = version

    def detect(self, image: np.ndarray) -> list[Face]:
        self.looked.append(image.tobytes())
        return find(image)

    @property
    def shown(self) -> int:
        """Pictures of datasets that it was shown; planning tries it on a black one."""
        return sum(any(picture) for picture in self.looked)

    @hookimpl
    def ferbench_register_face_detectors(self) -> list[FaceDetector]:
        return [FaceDetector("finder", self._version, self.detect, **self._fields)]  # type: ignore[arg-type]


def with_finder(finder: Finder, *datasets: Dataset) -> Catalog:
    catalog = tiny_catalog(*datasets)
    catalog.add(Plugin("finder", "tests", finder))
    return catalog


def without_face(dataset: Dataset, *splits: str) -> tuple[int, int]:
    """Pictures without a face, and all, by the rule itself."""
    images = np.concatenate([dataset.load(split, Path()).images for split in splits])
    return sum(not find(image) for image in images), len(images)


def report(bench: Bench, run: Run) -> Predictions:
    board = run.board
    assert board is not None
    found = bench.store.predictions(run.stages[-1], board.target, board.split, board.fingerprint)
    assert found is not None
    return found


def settings(bench: Bench) -> Settings:
    return Settings(bench.store.location, bench.folder / "data", bench.folder / "cache", "cpu")


def precut(dataset: Dataset) -> Dataset:
    """The same samples with pictures that were cut before anybody saw them."""
    detector = FaceDetector("by hand", 1, find)

    def shown(image: np.ndarray) -> np.ndarray:
        face = main_face(found_faces(image, detector), image.shape)
        return image if face is None else cut(image, face, "crop", 12)

    def load(split: str, root: Path) -> Samples:
        samples = dataset.load(split, root)
        return dataclasses.replace(samples, images=np.stack([shown(image) for image in samples.images]))

    return dataclasses.replace(dataset, load=load)


@pytest.mark.parametrize(
    ("strategy", "recipe"),
    [
        ("cascade", {"checkpoint": "best-on-select", "augment": "standard"}),
        ("cascade+linear-probe", {}),
        ("single-stage", {"mixing": "balanced"}),
        ("target-only", {"trainable": "head", "head_fit": "svm"}),
    ],
)
def test_training_and_evaluation_see_cut_pictures_and_nothing_else_differs(
    make_bench: Callable[..., Bench], strategy: str, recipe: dict[str, object]
) -> None:
    rooms, heads = bar_dataset("rooms", 7), bar_dataset("heads", 8)
    axes = {"targets": ("heads",), "auxiliaries": (("rooms",),)}
    finder = Finder()
    bench = make_bench("cut", with_finder(finder, rooms, heads))
    (run,) = bench.run(strategy, recipe={**recipe, **FINDER}, **axes).finished
    by_hand = make_bench("by hand", tiny_catalog(precut(rooms), precut(heads)))
    (expected,) = by_hand.run(strategy, recipe=recipe, **axes).finished
    found, wanted = report(bench, run), report(by_hand, expected)
    assert found.ids == wanted.ids and np.array_equal(found.probabilities, wanted.probabilities)
    assert run.select_accuracy == expected.select_accuracy
    assert [(each.before, each.after) for each in run.forgetting] == [
        (each.before, each.after) for each in expected.forgetting
    ]
    # It is another row of the same board, and whole pictures give other answers.
    (whole,) = bench.run(strategy, recipe=recipe, **axes).finished
    assert run.board == whole.board and run.entry != whole.entry and not set(run.stages) & set(whole.stages)
    assert whole.entry == expected.entry and whole.stages == expected.stages
    assert not np.array_equal(report(bench, whole).probabilities, found.probabilities)
    # Each picture is looked at once, whatever comes after.
    looked = finder.shown
    assert len(set(finder.looked)) == looked + 1
    bench.run(strategy, recipe={**recipe, **FINDER}, seeds=(1,), **axes)
    assert finder.shown == looked
    kinds = {"heads": ["tr"], "rooms": [] if strategy == "target-only" else ["tr"]}
    reported, of = without_face(heads, "te")
    counts = [without_face(dataset, *kinds[dataset.name]) for dataset in (rooms, heads) if kinds[dataset.name]]
    trained, of_all = (sum(numbers) for numbers in zip(*counts, strict=True))
    assert reported and trained
    note = f"no face found in {reported} of {of} reported pictures and {trained} of {of_all} trained (kept whole)"
    assert note in run.notes and len(found.ids) == of
    assert not any("no face" in line for line in whole.notes)
    assert ("finder" in dict(run.sources), "finder" in dict(whole.sources)) == (True, False)


def test_a_finished_row_is_found_again_verified_and_predicts(make_bench: Callable[..., Bench]) -> None:
    finder = Finder()
    bench = make_bench("one", with_finder(finder))
    (run,) = bench.run("cascade", recipe=FINDER).finished
    stage = bench.store.stage(run.stages[-1])
    assert stage is not None and stage.detector == "finder 1"
    assert (stage.recipe.faces, stage.recipe.face_detector) == ("crop", "finder")
    assert bench.engine.further_reports(["other"]).score([run]) == 1
    # Another command: nothing is trained, no picture looked at again.
    looked = finder.shown
    again = make_bench("one", with_finder(finder))
    outcome = again.run("cascade", recipe=FINDER)
    assert not outcome.finished and [each.key for each in outcome.skipped] == [run.key]
    (verified,) = Verifier(again.catalog, again.store, settings(again), infer=True).rows([run.row])
    assert verified.ok, [check for check in verified.checks if not check.ok]
    assert {check.ok for check in verified.checks if check.name in ("infer", "stages", "data", "sources")} == {True}
    told = Inference(again.catalog, settings(again)).predictions(run, "te", again.store).predictions
    assert np.allclose(told.probabilities, report(bench, run).probabilities, atol=1e-6)
    assert finder.shown == looked
    # A newer detector trains another stage; the row that the older one made keeps its name.
    newer = make_bench("one", with_finder(Finder(version=2)))
    (other,) = newer.run("cascade", recipe=FINDER).finished
    assert other.entry != run.entry and other.board == run.board
    # What the older one found, nobody can say with the newer one: neither that the row is wrong nor what it predicts.
    for catalog, here in ((newer.catalog, "here is finder 2"), (tiny_catalog(), "no plugin provides 'finder'")):
        told = f"faces were found by finder 1, which is not here ({here})"
        (verified,) = Verifier(catalog, newer.store, settings(newer), infer=True).rows([run.row])
        assert verified.ok, [check for check in verified.checks if check.ok is False]
        assert {check.name for check in verified.checks if check.detail == told} == {"stages", "infer"}
        with pytest.raises(DetectorMissing) as raised:
            Inference(catalog, settings(newer)).predictions(run, "te", newer.store)
        assert raised.value.line.startswith(f"{told}: install that one, or run the cell again")
    shown = newer.engine.further_reports(["other"])
    assert shown.score([run], force=True) == 0 and told.partition(" (")[0] in newer.reporter.warnings[-1]
    # One that does not work here is no fault of the row either; where everything is found, nobody asks it.
    broken = Finder()
    broken.detect = lacking  # type: ignore[method-assign]
    unseeing = make_bench("one", with_finder(broken))
    assert not unseeing.engine.prepare(matrix("cascade", recipe=FINDER), calibrate=False).pending
    shutil.rmtree(unseeing.folder / "cache" / "faces")
    (verified,) = Verifier(unseeing.catalog, unseeing.store, settings(unseeing), infer=True).rows([run.row])
    assert verified.ok, [check for check in verified.checks if check.ok is False]
    assert {check.name for check in verified.checks if "needs eyes" in check.detail} == {"stages", "infer"}
    # Nor does a detector change anything where pictures stay whole.
    named = newer.engine.prepare(matrix("cascade", recipe={"face_detector": "finder"}), calibrate=False).plan
    plain = newer.engine.prepare(matrix("cascade"), calibrate=False).plan
    assert [cell.key for cell in named.cells] == [cell.key for cell in plain.cells]


def test_a_stage_may_be_cut_alone_and_every_cut_is_another_one(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench("stages", with_finder(Finder(default=True)))
    prepare = bench.engine.prepare
    entries = {}
    for faces in ("none", "crop", "align"):
        plan = prepare(matrix("cascade", recipe={"faces": faces, "face_detector": "finder"}), calibrate=False).plan
        entries[faces] = plan.cells[0].entry
        assert plan.cells[0].cell.recipe.face_detector == ("auto" if faces == "none" else "finder")
    assert len(set(entries.values())) == 3
    axes = (parse_axis("stage2.faces=crop"), parse_axis("face_detector=finder"))
    cells = dataclasses.replace(matrix("cascade"), axes=axes)
    plan, whole = prepare(cells, calibrate=False).plan, prepare(matrix("cascade"), calibrate=False).plan
    assert [stage.recipe.faces for stage in plan.stages] == ["none", "crop"]
    idle = dataclasses.replace(matrix("cascade"), axes=(parse_axis("stage1.face_detector=finder"),))
    assert prepare(idle, calibrate=False).plan.cells[0].cell.stage_changes == ()
    assert plan.stages[0].fingerprint == whole.stages[0].fingerprint
    (run,) = bench.engine.run(prepare(cells, calibrate=False)).finished
    assert any("of 56 trained (kept whole)" in note for note in run.notes)


def test_pictures_that_two_detectors_looked_at_are_counted_for_both(make_bench: Callable[..., Bench]) -> None:
    class Blind:
        @hookimpl
        def ferbench_register_face_detectors(self) -> list[FaceDetector]:
            return [FaceDetector("blind", 1, lambda image: [])]

    catalog = with_finder(Finder())
    catalog.add(Plugin("blind", "tests", Blind()))
    bench = make_bench("both", catalog)
    axes = (parse_axis("faces=crop"), parse_axis("face_detector=finder"), parse_axis("stage2.face_detector=blind"))
    cells = dataclasses.replace(matrix("lp-ft"), axes=axes)
    (run,) = bench.engine.run(bench.engine.prepare(cells, calibrate=False)).finished
    found, of = without_face(bench.catalog.dataset("small"), "tr")
    note = f"no face found in 35 of 35 reported pictures and {found + of} of {2 * of} trained (kept whole)"
    assert note in run.notes, run.notes


@pytest.mark.parametrize("recipe", [{"checkpoint": "best-on-select"}, {"trainable": "head", "head_fit": "svm"}])
def test_the_search_is_told_and_stopped(make_bench: Callable[..., Bench], recipe: dict[str, object]) -> None:
    class Slow(Finder):
        def detect(self, image: np.ndarray) -> list[Face]:
            time.sleep(0.002)
            return super().detect(image)

    finder = Slow()
    bench = make_bench("slow", with_finder(finder))
    told: list[Progress] = []
    bench.reporter.stage_progress = lambda stage, progress: told.append(progress)  # type: ignore[method-assign]
    cells = matrix("target-only", recipe={**recipe, **FINDER})
    prepared = bench.engine.prepare(cells, calibrate=False)
    with pytest.raises(KeyboardInterrupt):
        bench.engine.run(prepared, stop=lambda: finder.shown >= 60)
    # It was looking at the second of three sets; the first one is kept.
    assert finder.shown < 112 and not (bench.folder / "cache" / "checkpoints").exists()
    told.clear()
    (run,) = bench.engine.run(prepared).finished
    search = [progress for progress in told if progress.making == "faces"]
    assert (search[-1].images_seen, search[-1].images_total) == (112, 112)
    assert told[: len(search)] == search
    missing = len(set(finder.looked)) - 1
    assert missing == 112
    # The set that was there already says nothing of the speed: some 0.002 seconds a picture.
    assert all(progress.images_per_second < 600 for progress in search)
    assert run.spent_seconds < run.train_seconds + 0.05


def test_sets_that_leave_no_room_and_features_are_told_from_whole_ones(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench("kinds", with_finder(Finder()))
    reduced = bench.folder / "cache" / "reduced"
    (run,) = bench.run("target-only", recipe=FINDER).finished
    # Cut once: what is trained, selected and reported on lies there, room or not, and nothing is cut again.
    assert len(list(reduced.glob("*.json"))) == 3
    for other in make_bench("kinds", with_finder(Finder())), make_bench("kinds", with_finder(Finder())):
        with monkeypatch.context() as nothing:
            nothing.setattr("ferbench.faces.cutting.cut", None)
            (same,) = other.run("target-only", recipe=FINDER, force=True).finished
        assert np.array_equal(report(other, same).probabilities, report(bench, run).probabilities)
        monkeypatch.setattr("ferbench.workbench.free_room", lambda device: 0)
    for recipe, count in (({}, 2), ({"faces": "align", "face_detector": "finder"}, 3)):
        bench.run("target-only", recipe=recipe)
        assert len(list(reduced.glob("*.json"))) == 3 * count
    for recipe, count in (({}, 1), (FINDER, 2)):
        bench.run("linear-probe", recipe={**recipe, "augment": "none"})
        assert len(list((bench.folder / "cache" / "features").glob("*.json"))) == 3 * count
    assert len(list((bench.folder / "cache" / "faces").glob("*.npy"))) == 3


def test_which_detector_is_taken_and_what_is_told_before_anything_is_trained(
    make_bench: Callable[..., Bench],
) -> None:
    assert Catalog.load().face_detector("auto").name == "yunet"
    bench = make_bench("default", with_finder(Finder(default=True)))
    with pytest.raises(UsageError, match="finder and yunet both are it: name one, --set face_detector=NAME"):
        bench.run("target-only", recipe={"faces": "crop"})
    with pytest.raises(UnknownName, match=r"face detector named 'findr': did you mean finder"):
        bench.run("target-only", recipe={"faces": "crop", "face_detector": "findr"})

    finder = Finder()
    finder.detect = lacking  # type: ignore[method-assign]
    with pytest.raises(PluginError, match="pip install eyes, or leave faces=none"):
        make_bench("lacking", with_finder(finder)).run("target-only", recipe=FINDER)
    with pytest.raises(UsageError, match="no plugin provides one"):
        Catalog().face_detector("auto")
    with pytest.raises(DuplicateName, match="finder"):
        bench.catalog.add(Plugin("another", "tests", Finder()))
    for faulty in (Finder(version=0), Finder(default="yes")):
        with pytest.raises(PluginError, match=r"face detector 'finder': (version|default)="):
            Catalog().add(Plugin("faulty", "tests", faulty))
