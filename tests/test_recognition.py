"""What a row says of pictures of one's own, against its networks asked one by one."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from tiny import CLASSES, Bench, TinyPlugin, bar_dataset, bars, tiny_catalog

from ferbench import Face, FaceDetector, Samples, hookimpl
from ferbench.catalog import Catalog
from ferbench.data.given_pictures import GivenPicture, InputPicture
from ferbench.ensembles import Method, make_ensemble
from ferbench.errors import PluginError, UsageError
from ferbench.faces import cut
from ferbench.pages.recognition import Box, Cutting, PictureAnswer, PictureFault
from ferbench.plugin_source import Plugin
from ferbench.publish.recognition import notes
from ferbench.recognition import Cutter, Faces, Recogniser, cutting_for
from ferbench.records import Run
from ferbench.reliability import fitted_temperature, scaled
from ferbench.saliency import class_activation
from ferbench.settings import Settings
from ferbench.trained import load_trained


def recogniser(bench: Bench, runs: Sequence[Run]) -> Recogniser:
    return Recogniser(runs, bench.store, bench.catalog, settings_of(bench))


def settings_of(bench: Bench) -> Settings:
    return Settings(bench.store.location, bench.folder / "data", bench.folder / "cache", "cpu")


def given(name: str, image: np.ndarray | Image.Image | bytes, kind: str = "PNG", **saved: object) -> GivenPicture:
    if isinstance(image, bytes):
        return GivenPicture(name, PurePath(name), InputPicture(image))
    stream = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image.squeeze())
    picture.save(stream, kind, **saved)
    return GivenPicture(name, PurePath(name), InputPicture(stream.getvalue()))


def halves(image: np.ndarray) -> list[Face]:
    """Two faces side by side, the right one first; in a dark picture none."""
    height, width = image.shape[:2]
    boxes = ((width / 2, 0.0, width / 2, height), (0.0, 0.0, width / 2, height))
    return [Face(box, 0.5) for box in boxes] if image.max() > 99 else []


HALVES = FaceDetector("halves", 1, halves)


@pytest.fixture
def answered(bench: Bench) -> Callable[..., list[PictureAnswer | PictureFault]]:
    (run,) = bench.run("target-only").finished
    mine = recogniser(bench, [run])

    def answers(
        *pictures: GivenPicture, cutter: Cutter | None = None, **asked: bool
    ) -> list[PictureAnswer | PictureFault]:
        return list(mine.answers(pictures, *([cutter] if cutter else []), **asked))

    answers.recogniser = mine  # type: ignore[attr-defined]
    return answers


def test_the_mean_of_seeds_at_the_temperature_of_the_mean(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = bench.run("target-only", seeds=(0, 1), recipe={"images_seen": 8}).finished
    images = list(bars(6, 9)[0])
    networks = [load_trained(run, bench.store, bench.catalog, settings_of(bench)) for run in runs]
    single = [each.probabilities(images) for each in networks]
    mean = np.mean(single, axis=0).astype(np.float32)
    selects = [bench.store.select_predictions(run) for run in runs]
    on_select = np.mean([each.probabilities for each in selects if each is not None], axis=0).astype(np.float32)
    assert selects[0] is not None
    temperature = fitted_temperature(dataclasses.replace(selects[0], probabilities=on_select))
    mine = recogniser(bench, runs)
    np.testing.assert_allclose(mine.probabilities(images), scaled(mean, temperature), atol=1e-6)
    np.testing.assert_allclose(mine.probabilities(images).sum(axis=1), 1, atol=1e-6)
    answerer = mine.answerer
    assert answerer.temperature == pytest.approx(temperature) and answerer.classes == CLASSES
    assert answerer.temperature not in [run.calibration.temperature for run in runs if run.calibration is not None]
    assert (answerer.row, answerer.seeds, notes(answerer, Cutting())[1:]) == (runs[0].row, (0, 1), [])
    assert (answerer.synthetic, answerer.members, answerer.board) == ("alone", 0, runs[0].board)
    # Of an ensemble its own temperature, of the mean.
    row = make_ensemble(bench.store, [runs[0].row], Method(over_seeds=True)).row
    ((ensemble, _),) = bench.store.run_predictions(row)
    together = recogniser(bench, [ensemble])
    assert ensemble.calibration is not None and together.answerer.members == 2
    expected = scaled(mean, ensemble.calibration.temperature)
    np.testing.assert_allclose(together.probabilities(images), expected, atol=1e-5)
    maps = together.activations(images, [0] * 6)
    weighted = np.mean([class_activation(each, images, [0] * 6) for each in networks], axis=0)
    largest = weighted.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(maps, np.where(largest > 0, weighted / np.maximum(largest, 1e-30), 0), atol=1e-5)
    # Without what the runs say of select there is nothing to fit a temperature on, and that is said.
    monkeypatch.setattr(type(bench.store), "select_predictions", lambda *_: None)
    raw = recogniser(bench, runs)
    assert raw.answerer.temperature is None
    np.testing.assert_allclose(raw.probabilities(images), mean, atol=1e-6)
    said = f"these probabilities are not calibrated: the mean of seeds 0-1 of row {runs[0].row} has no temperature"
    assert notes(raw.answerer, Cutting())[-1].startswith(said)


def one_face(image: np.ndarray) -> list[Face]:
    """Where the first pixel says, or none."""
    value = int(image[0, 0, 0])
    return [Face((1 + value % 3, value % 4, 7, 8), 0.9)] if value % 5 else []


@pytest.mark.parametrize("recipe", [{"faces": "crop", "face_detector": "one", "image_size": 24}, {}])
def test_what_is_answered_is_what_evaluation_has_stored(
    make_bench: Callable[..., Bench], recipe: dict[str, object]
) -> None:
    """Of a row of faces, of pictures smaller than what it sees; of whole pictures larger than datasets keep them."""
    small = bar_dataset("mine", 5, counts=(14, 7, 21))
    large = dataclasses.replace(small, load=lambda split, root: enlarged(small.load(split, root)))
    catalog = with_detectors()
    catalog.add(Plugin("mine", "tests", TinyPlugin([small if recipe else large], [])))
    bench = make_bench("mine", catalog)
    (run,) = bench.run("target-only", targets=("mine",), recipe=recipe).finished
    ((_, stored),) = bench.store.run_predictions(run.row)
    mine = recogniser(bench, [dataclasses.replace(run, calibration=None)])
    images = dict(zip((s := catalog.dataset("mine").load("te", Path())).ids, s.images, strict=True))
    cutter, _ = cutting_for("auto" if recipe else "none", mine.stages, catalog, mine.image_size)
    answers = list(mine.answers([given(name, images[name]) for name in stored.ids], cutter))
    found = [answer.faces[0].probabilities for answer in answers if isinstance(answer, PictureAnswer)]
    np.testing.assert_allclose(found, stored.probabilities, rtol=0, atol=1e-6)


def enlarged(samples: Samples) -> Samples:
    """600 pixels a side, with edges that are seen however they are reduced."""
    large = np.kron(samples.images[..., 0], np.ones((1, 50, 50), np.uint8)) + np.arange(600, dtype=np.uint8) % 7 * 9
    return dataclasses.replace(samples, images=large[..., None])


def test_a_picture_is_answered_in_any_mode_as_its_pixels_are(answered: Callable[..., list[PictureAnswer]]) -> None:
    image = bars(3, 2)[0][2]
    colour = Image.fromarray(np.repeat(image, 3, axis=2))
    turned = Image.Exif()
    turned[0x0112] = 6
    wide = np.concatenate([image, image // 2], axis=1)
    answers = answered(
        given("grey", image),
        given("rgb", colour),
        given("rgba", colour.convert("RGBA")),
        given("palette", Image.fromarray(image[:, :, 0]).convert("P")),
        given("deep", image[:, :, 0].astype(np.uint16) * 257),
        given("tiff", colour.convert("CMYK"), "TIFF"),
        given("wide", wide),
        given("turned", Image.fromarray(wide[:, :, 0]).rotate(90, expand=True), "TIFF", exif=turned),
    )
    first = answers[0].faces[0].probabilities
    for answer in answers[:6]:
        (face,) = answer.faces
        assert answer.whole and face.box is None and (answer.width, answer.height) == (12, 12) and answer.pixels is None
        np.testing.assert_allclose(face.probabilities, first, atol=1e-6)
    upright, turned_back = answers[6:]
    assert (turned_back.width, turned_back.height) == (upright.width, upright.height) == (24, 12)
    np.testing.assert_allclose(turned_back.faces[0].probabilities, upright.faces[0].probabilities, atol=1e-6)


def test_every_face_is_answered_and_a_broken_picture_is_a_line(
    answered: Callable[..., list[PictureAnswer | PictureFault]], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = np.concatenate([bars(7, 1)[0][3], bars(7, 1)[0][5]], axis=1)
    dark = np.full((9, 9), 20, np.uint8)
    pictures = [given("both", both), given("broken", b"\x89PNG no more"), given("dark", dark), given("end", both)]
    answers = answered(*pictures, cutter=Faces(HALVES, "crop", 12), drawn=True, explained=True)
    first, broken, whole, last = answers
    assert isinstance(broken, PictureFault) and broken.name == "broken" and "on standard input" in broken.line
    assert isinstance(first, PictureAnswer) and isinstance(whole, PictureAnswer) and isinstance(last, PictureAnswer)
    assert [face.box for face in first.faces] == [Box(0, 0, 12, 12), Box(12, 0, 12, 12)] and not first.whole
    mine = answered.recogniser  # type: ignore[attr-defined]
    views = [cut(both, face, "crop", 12) for face in reversed(halves(both))]
    np.testing.assert_allclose([face.probabilities for face in first.faces], mine.probabilities(views), atol=1e-6)
    np.testing.assert_array_equal([face.view for face in first.faces], views)
    assert all(face.overlay is not None and face.overlay.shape == (12, 12, 3) for face in first.faces)
    np.testing.assert_array_equal(first.pixels, both)
    assert whole.whole and [face.score for face in whole.faces] == [None]
    assert [face.score for face in last.faces] == [0.5, 0.5]
    # A huge picture is looked at reduced; its boxes are those of the picture as it is.
    monkeypatch.setattr("ferbench.recognition._LARGEST", 24)
    monkeypatch.setattr("ferbench.recognition._WAITING_BYTES", 1)
    huge = np.repeat(np.repeat(both, 5, axis=0), 5, axis=1)
    (of_huge, again) = answered(given("huge", huge), given("both", both), cutter=Faces(HALVES, "crop", 12), drawn=True)
    assert isinstance(of_huge, PictureAnswer) and (of_huge.width, of_huge.height) == (120, 60)
    assert [face.box for face in of_huge.faces] == [Box(0, 0, 60, 60), Box(60, 0, 60, 60)]
    assert of_huge.pixels is not None and of_huge.pixels.shape == (12, 24, 1)
    assert isinstance(again, PictureAnswer) and len(again.faces) == 2


class Detectors:
    """A plugin with a detector that works and one that lacks its library."""

    def __init__(self, version: int = 1) -> None:
        self._version = version

    @hookimpl
    def ferbench_register_face_detectors(self) -> list[FaceDetector]:
        others = [FaceDetector("lame", 1, lame), FaceDetector("one", 1, one_face)]
        return [FaceDetector("halves", self._version, halves), *others]


def lame(image: np.ndarray) -> list[Face]:
    raise PluginError("face detector lame needs a library: pip install it")


def with_detectors(version: int = 1) -> Catalog:
    catalog = tiny_catalog()
    catalog.add(Plugin("detectors", "tests", Detectors(version)))
    return catalog


@pytest.fixture
def by_halves(make_bench: Callable[..., Bench]) -> Iterator[tuple[Bench, Recogniser]]:
    bench = make_bench("halves", with_detectors())
    (run,) = bench.run("target-only", recipe={"faces": "crop", "face_detector": "halves"}).finished
    yield bench, recogniser(bench, [run])


def test_pictures_are_cut_as_the_row_was_trained(
    by_halves: tuple[Bench, Recogniser], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, mine = by_halves
    cutter, cutting = cutting_for("auto", mine.stages, bench.catalog, 12)
    assert (cutting.mode, cutting.detector, cutting.why) == ("crop", "halves", "")
    assert isinstance(cutter, Faces) and len(cutter(np.full((8, 16, 1), 200, np.uint8))) == 2
    assert cutting_for("align", mine.stages, bench.catalog, 12)[1].mode == "align"
    assert cutting_for("none", mine.stages, bench.catalog, 12)[1].mode == "none"
    # Another version of the detector is told.
    _, other = cutting_for("auto", mine.stages, with_detectors(2), 12)
    assert other.why.startswith("the row was trained on faces found by halves 1") and "halves 2" in other.why
    # And one that cannot be had is no reason to take pictures as the row never saw them.
    line = r"detector 'halves' finds, which no plugin here provides \(det is not loaded\): load .* --faces none$"
    with pytest.raises(UsageError, match=line):
        cutting_for("auto", mine.stages, tiny_catalog(), 12, ("det",))
    monkeypatch.setattr("ferbench.recognition.found_faces", lambda image, _: lame(image))
    with pytest.raises(UsageError, match=r"lame needs a library: pip install it; or take .* with --faces none$"):
        cutting_for("auto", mine.stages, bench.catalog, 12)
    monkeypatch.undo()
    # Networks of several sizes are shown faces cut for the largest, and that is said.
    (stage,) = mine.stages
    larger = dataclasses.replace(stage, recipe=dataclasses.replace(stage.recipe, image_size=24))
    told = cutting_for("auto", (stage, larger), bench.catalog, 24)[1].why
    assert told == "the row's networks were trained on faces cut at 12 or 24 pixels; all of them are shown 24 here"


def test_a_row_of_whole_pictures_has_faces_looked_for_where_that_can_be_done(
    answered: Callable[..., list[PictureAnswer]], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = answered.recogniser  # type: ignore[attr-defined]
    catalog = with_detectors()
    _, cutting = cutting_for("auto", mine.stages, bench.catalog, 12)
    assert (cutting.mode, cutting.detector, cutting.why) == ("crop", "yunet", "")
    named = catalog.face_detector
    monkeypatch.setattr(catalog, "face_detector", lambda name: named("lame"))
    cutter, cutting = cutting_for("auto", mine.stages, catalog, 12)
    assert cutting.mode == "none" and cutting.why.endswith(
        "since no faces can be looked for: face detector lame needs a library: pip install it"
    )
    assert len(cutter(np.zeros((5, 5, 1), np.uint8))) == 1
    with pytest.raises(PluginError, match=r"^face detector lame needs a library"):
        cutting_for("crop", mine.stages, catalog, 12)


def test_a_picture_that_is_one_face_is_shown_as_it_is_and_its_box_told() -> None:
    def looked(face: Face) -> Faces:
        return Faces(FaceDetector("one", 1, lambda image: [face]), "crop", 12, as_they_are=True)

    large, small = Face((4.0, 4.0, 36.0, 40.0), 0.9), Face((4.0, 4.0, 20.0, 22.0), 0.9)
    square, wide = (np.arange(48 * width).reshape(48, width, 1).astype(np.uint8) for width in (48, 70))
    ((of_large,), (of_small,), (of_wide,)) = (
        looked(large)(square),
        looked(small)(square),
        looked(Face((4.0, 4.0, 50.0, 40.0), 0.9))(wide),
    )
    assert of_large.box == Box(4, 4, 36, 40) and of_large.pixels is square
    assert of_small.pixels.shape == of_wide.pixels.shape == (12, 12, 1)
    np.testing.assert_array_equal(of_small.pixels, cut(square, small, "crop", 12))
    # Where faces were asked for, or trained on, every one is cut.
    (asked,) = Faces(FaceDetector("one", 1, lambda image: [large]), "crop", 12)(square)
    np.testing.assert_array_equal(asked.pixels, cut(square, large, "crop", 12))


def test_faces_are_told_row_by_row(answered: Callable[..., list[PictureAnswer]]) -> None:
    places = [(70, 52), (40, 8), (4, 60), (4, 0), (70, 4)]
    faces = FaceDetector("five", 1, lambda image: [Face((left, top, 20, 20), 0.5) for left, top in places])
    (answer,) = answered(given("five", np.full((90, 90), 9, np.uint8)), cutter=Faces(faces, "crop", 12))
    boxes = [face.box for face in answer.faces if face.box is not None]
    assert [(box.left, box.top) for box in boxes] == [(4, 0), (40, 8), (70, 4), (4, 60), (70, 52)]


def test_a_map_in_which_nothing_speaks_is_told_apart(answered: Callable[..., list[PictureAnswer]]) -> None:
    mine = answered.recogniser  # type: ignore[attr-defined]
    spoken = answered(given("bars", bars(1, 0)[0][0]), explained=True)[0].faces[0]
    network, _ = mine._votes[0]
    with torch.no_grad():
        network.module[6].weight.abs_().neg_()
    silent = answered(given("bars", bars(1, 0)[0][0]), explained=True)[0].faces[0]
    assert spoken.speaks and not silent.speaks and silent.overlay is not None


def test_real_photographs(answered: Callable[..., list[PictureAnswer]], bench: Bench) -> None:
    mine = answered.recogniser  # type: ignore[attr-defined]
    cutter, _ = cutting_for("auto", mine.stages, bench.catalog, mine.image_size)
    small = (255 * data.lfw_subset()[0]).round().astype(np.uint8)
    astronaut, face, cat = answered(
        given("astronaut", data.astronaut()), given("lfw", small), given("cat", data.cat()), cutter=cutter
    )
    ((box, score),) = [(face.box, face.score) for face in astronaut.faces]
    # Her eyes and mouth lie within, about (203, 104), (247, 104) and (226, 145); the rocket is no face.
    assert box is not None and score is not None and score > 0.5
    assert 150 < box.left < 203 < 247 < box.left + box.width < 300 and box.top < 104 < 145 < box.top + box.height < 200
    for answer in (astronaut, face, cat):
        assert len(answer.faces) == 1 and abs(float(answer.faces[0].probabilities.sum()) - 1) < 1e-5
    assert not face.whole and cat.whole
