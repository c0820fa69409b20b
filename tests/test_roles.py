"""Roles: who is trained on, chosen on and reported on, and that none of them leaks into another."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import CLASSES, bars

from ferbench.components import Dataset, Samples
from ferbench.data.roles import LabelledImages, RoleReader, check_auxiliary, check_target
from ferbench.errors import DatasetError, DatasetMissing, UnknownName, UsageError
from ferbench.references import DatasetReference, parse_reference

FULL = {"train": "tr", "select": "va", "report": "te"}
HELD = {"train": "tr", "report": "te"}


def dataset(
    name: str = "faces",
    *,
    roles: dict[str, str] | None = None,
    classes: tuple[str, ...] = CLASSES,
    films: int = 0,
    shuffle: int | None = None,
    labelled: bool = True,
) -> Dataset:
    """Bars in files that lie anywhere; `shuffle` gives another order of files, `films` a number of groups."""

    def load(split: str, root: Path) -> Samples:
        index = ("tr", "va", "te").index(split)
        count = (140, 35, 70)[index]
        images, labels = bars(count, 50 + index)
        own = np.array([classes.index(CLASSES[label]) for label in labels], np.int64) if labelled else None
        ids = np.array([f"{split}-{number}" for number in range(count)])
        groups = np.array([f"film{number * films // count}" for number in range(count)])
        order = np.arange(count) if shuffle is None else np.random.default_rng(shuffle).permutation(count)
        return Samples(
            images[order],
            None if own is None else own[order],
            tuple(ids[order].tolist()),
            tuple(groups[order].tolist()) if films else None,
        )

    return Dataset(
        name=name,
        version=1,
        classes=classes,
        splits=("tr", "va", "te"),
        roles=roles or FULL,  # type: ignore[arg-type]
        locate=lambda folder: folder if folder.is_dir() else None,
        load=load,
        steps="ask its authors, and put it into data/faces",
    )


Read = Callable[..., RoleReader]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def reader(*datasets: Dataset, cache: str = "cache") -> RoleReader:
        known = {each.name: each for each in datasets}

        def find(name: str) -> Dataset:
            if name not in known:
                raise UnknownName("dataset", name, known)
            return known[name]

        (tmp_path / "data").mkdir(exist_ok=True)
        return RoleReader(find, tmp_path / "data", tmp_path / cache)

    return reader


def pixels(samples: LabelledImages) -> set[bytes]:
    return {image.tobytes() for image in samples.images}


def test_each_role_is_the_split_that_the_dataset_names(read: Read) -> None:
    roles = read(dataset())
    found = [getattr(roles, role)("faces") for role in ("train", "select", "report")]
    assert [(each.splits, each.count, each.excluded) for each in found] == [
        ("tr", 140, 0),
        ("va", 35, 0),
        ("te", 70, 0),
    ]
    train, select, report = map(pixels, found)
    assert not train & select and not train & report and not select & report


def test_labels_belong_to_their_pictures_whatever_order_either_has(read: Read) -> None:
    reverse = dataset(classes=tuple(reversed(CLASSES)), shuffle=3)
    train = read(reverse).train("faces")
    assert train.labels is not None
    for image, label in zip(train.images, train.labels, strict=True):
        # The brightest row of a bar picture is its class, in the label set's order.
        assert image[:, :, 0].astype(int).sum(axis=1).argmax() - 2 == label


def test_content_and_order_do_not_depend_on_the_order_of_files(read: Read) -> None:
    for roles in (FULL, HELD):
        for films in (0, 11):
            first = read(dataset(roles=roles, films=films), cache=f"{len(roles)}{films}a")
            other = read(dataset(roles=roles, films=films, shuffle=7), cache=f"{len(roles)}{films}b")
            for role in ("train", "select", "report"):
                mine, same = getattr(first, role)("faces"), getattr(other, role)("faces")
                assert mine.content == same.content and mine.ids == same.ids and mine.groups == same.groups
                np.testing.assert_array_equal(mine.images, same.images)
                np.testing.assert_array_equal(mine.labels, same.labels)


def test_content_tells_other_pixels_other_labels_and_other_groups(read: Read) -> None:
    base = read(dataset(), cache="1").train("faces").content

    def changed(**values: object) -> Dataset:
        original = dataset()

        def load(split: str, root: Path) -> Samples:
            samples = original.load(split, root)
            if "images" in values:
                samples.images[0, 0, 0, 0] ^= 1  # type: ignore[index]
                return samples
            return dataclasses.replace(samples, **values)  # type: ignore[arg-type]

        return dataclasses.replace(original, load=load)

    labels = np.roll(np.arange(140) % 7, 1).astype(np.int64)
    variants = [changed(images=True), changed(groups=("a",) * 140), changed(labels=labels)]
    found = {read(each, cache=f"v{n}").train("faces").content for n, each in enumerate(variants)}
    assert len(found | {base}) == 4
    # Names of files are no content, and neither is the spelling of a class.
    renamed = changed(ids=tuple(f"other{n}" for n in range(140)))
    spelt = dataset(classes=("Anger", "Disgusted", "fearful", "HAPPINESS", "sadness", "Surprised", "Neutral")[:7])
    spelt = dataclasses.replace(spelt, load=dataset().load)
    assert read(renamed, cache="v4").train("faces").content == base
    assert read(spelt, cache="v5").train("faces").content == base


# --- hold-out ---------------------------------------------------------------------------------------------------------


def test_without_a_select_split_15_percent_of_each_class_are_held_out(read: Read) -> None:
    roles = read(dataset(roles=HELD))
    train, select = roles.train("faces"), roles.select("faces")
    assert (train.splits, select.splits) == ("tr less held out", "tr (held out)")
    assert set(train.ids).isdisjoint(select.ids) and train.count + select.count == 140
    assert select.labels is not None and Counter(select.labels.tolist()) == dict.fromkeys(range(7), 3)
    # No role, and no name for one, trains on what is held out.
    assert roles.train("faces:train").ids == train.ids


def test_whole_films_are_held_out_where_there_are_films(read: Read) -> None:
    roles = read(dataset(roles=HELD, films=11))
    train, select = roles.train("faces"), roles.select("faces")
    assert select.groups and train.groups and set(select.groups).isdisjoint(train.groups)
    assert 0.1 <= select.count / 140 <= 0.2
    assert train.count + select.count == 140


def finder(one: Dataset) -> Callable[[str], Dataset]:
    def find(name: str) -> Dataset:
        if name != one.name:
            raise UnknownName("dataset", name, [one.name])
        return one

    return find


def test_a_dataset_without_a_report_split_reports_on_a_part_if_asked(read: Read) -> None:
    roles = read(dataclasses.replace(dataset(roles={"train": "tr"}), splits=("tr",)))
    with pytest.raises(DatasetError, match="has no report split: write faces:hold-out to report on a fifth of it"):
        roles.report("faces")
    report, train, select = (getattr(roles, role)("faces:hold-out") for role in ("report", "train", "select"))
    assert (report.splits, train.splits, select.splits) == (
        *("tr (held out to report)", "tr less held out", "tr (held out)"),
    )
    assert report.count == 28 and select.count in (14, 21) and report.count + train.count + select.count == 140
    assert not set(report.ids) & set(train.ids) and not set(report.ids) & set(select.ids)
    assert not set(train.ids) & set(select.ids)
    whole = dataset(roles={"train": "tr"})
    with pytest.raises(UsageError, match="auxiliary faces:hold-out reports on nothing: write faces"):
        check_auxiliary(parse_reference("faces:hold-out", finder(whole)))
    # Where something is published to report on, there is no such split.
    with pytest.raises(UsageError, match="has no split 'hold-out'"):
        parse_reference("faces:hold-out", finder(dataset()))


def test_films_that_are_reported_on_are_trained_on_by_nobody(read: Read) -> None:
    roles = read(dataset(roles={"train": "tr"}, films=11))
    films = [set(getattr(roles, role)("faces:hold-out").groups) for role in ("report", "train", "select")]
    assert all(films) and sum(map(len, films)) == len(set.union(*films)) == 11


def test_own_select_is_kept_beside_a_held_out_report(read: Read) -> None:
    roles = read(dataset(roles={"train": "tr", "select": "va"}))
    assert roles.select("faces:hold-out").splits == "va"
    assert roles.train("faces:hold-out").count + roles.report("faces:hold-out").count == 140


def test_a_fraction_is_taken_of_train_alone(read: Read) -> None:
    roles = read(dataset(roles=HELD, films=11))
    whole, quarter = roles.train("faces"), roles.train("faces", fraction=0.25)
    assert quarter.splits == f"tr less held out ({100 * quarter.count / whole.count:.3g} %)"
    assert quarter.content != whole.content
    assert set(quarter.ids) < set(whole.ids) and abs(quarter.count - whole.count / 4) < 13
    assert quarter.groups and not set(quarter.groups) & {
        film for film, one in zip(whole.groups or (), whole.ids, strict=True) if one not in quarter.ids
    }
    assert roles.train("faces", fraction=1.0) is whole and (whole.whole, quarter.whole) == (whole.count,) * 2


# --- named splits -----------------------------------------------------------------------------------------------------


def test_train_and_select_together_are_one_training_set_of_both(read: Read) -> None:
    roles = read(dataset())
    both = roles.train("faces:train+select")
    assert both.splits == "tr+va" and both.count == 175
    assert roles.train("faces:tr+va").content == both.content
    held = read(dataset(roles=HELD), cache="held")
    whole = held.train("faces:train+select")
    assert whole.splits == "tr" and whole.count == 140 and len(set(whole.ids)) == 140
    assert held.train("faces:tr").content == whole.content


@pytest.mark.parametrize(
    ("roles", "reference"), [(FULL, "faces:train+select"), (HELD, "faces:tr"), (FULL, "faces:tr+va")]
)
def test_select_is_gone_where_it_is_trained_on(read: Read, roles: dict[str, str], reference: str) -> None:
    reader = read(dataset(roles=roles))
    reader.train(reference)
    with pytest.raises(UsageError, match=r"trains on the select part of faces.*checkpoint=last"):
        reader.select(reference)
    assert reader.select("faces:train").count == reader.select("faces").count


def test_a_targets_named_splits_are_reported_on_and_never_trained_on(read: Read) -> None:
    roles = read(dataset())
    for reference, splits, count in (("faces:va", "va", 35), ("faces:report+select", "te+va", 105)):
        assert (roles.report(reference).splits, roles.report(reference).count) == (splits, count)
        assert roles.train(reference).content == roles.train("faces").content
        check_target(find(reference))
    for reference in ("faces:train", "faces:tr", "faces:te+tr"):
        with pytest.raises(UsageError, match=f"target {re.escape(reference)} would report on training data"):
            check_target(find(reference))


def find(reference: str) -> DatasetReference:
    def look_up(name: str) -> Dataset:
        if name != "faces":
            raise UnknownName("dataset", name, ["faces"])
        return dataset()

    return parse_reference(reference, look_up)


def test_an_auxiliary_that_names_splits_must_name_what_it_is_trained_on() -> None:
    for reference in ("faces", "faces:train", "faces:tr+va", "faces:train+report"):
        check_auxiliary(find(reference))
    with pytest.raises(UsageError, match=r"write faces:train\+select"):
        check_auxiliary(find("faces:select"))


def test_a_held_out_part_may_be_reported_on_by_name(read: Read) -> None:
    roles = read(dataset(roles={"train": "tr"}))
    with pytest.raises(DatasetError, match="no report split: name one, as in faces:te"):
        roles.report("faces")
    report = roles.report("faces:select")
    assert set(report.ids).isdisjoint(roles.train("faces:select").ids) and report.splits == "tr (held out)"


def test_a_dataset_that_is_for_reporting_only_is_not_trained_on(read: Read) -> None:
    roles = read(dataset(roles={"report": "te"}))
    assert roles.report("faces").count == 70
    for role in (roles.train, roles.select):
        with pytest.raises(DatasetError, match=r"'faces' has no (train|select) split"):
            role("faces")


# --- label sets -------------------------------------------------------------------------------------------------------


def test_samples_outside_the_label_set_are_left_out_and_counted(read: Read) -> None:
    # What shows angry is called contempt, which stands first among this dataset's own classes.
    eight = dataclasses.replace(dataset(classes=(*CLASSES, "contempt")), classes=("contempt", *CLASSES[1:], "angry"))
    roles = read(eight)
    basic7, basic8 = roles.report("faces"), roles.report("faces", "basic8")
    assert (basic7.count, basic7.excluded) == (60, 10) and (basic8.count, basic8.excluded) == (70, 0)
    assert basic7.labels is not None and basic8.labels is not None
    assert 0 not in basic7.labels and Counter(basic8.labels.tolist())[7] == 10
    few = roles.report("faces", "sad/happy")
    assert few.labels is not None and (few.count, few.excluded) == (20, 50)
    for image, label in zip(few.images, few.labels, strict=True):
        assert CLASSES[image[:, :, 0].astype(int).sum(axis=1).argmax() - 2] == ("sad", "happy")[label]
    merged = roles.report("faces", "bad=sad+fear/happy")
    assert merged.labels is not None and Counter(merged.labels.tolist()) == {0: 20, 1: 10}
    with pytest.raises(DatasetError, match="'faces' has no sample of label set angry/neutral in its report role"):
        few = dataset(classes=CLASSES)
        shown = dataclasses.replace(few, classes=("sad", "sadness", "fear", "fearful", "happy", "joy", "scared"))
        read(shown, cache="few").report("faces", "angry/neutral")


def test_the_hold_out_is_the_same_whatever_the_label_set(read: Read) -> None:
    roles = read(dataset(roles=HELD))
    whole, few = roles.select("faces"), roles.select("faces", "sad/happy")
    assert set(few.ids) < set(whole.ids)


def test_withheld_labels_are_none(read: Read) -> None:
    report = read(dataset(labelled=False)).report("faces")
    assert report.labels is None and report.count == 70


def test_pictures_of_different_sizes_keep_theirs(read: Read) -> None:
    plain = dataset()

    def load(split: str, root: Path) -> Samples:
        samples = plain.load(split, root)
        return dataclasses.replace(samples, images=samples.images[:, : 12 if split == "tr" else 10])  # type: ignore[call-overload]

    both = read(dataclasses.replace(plain, load=load)).train("faces:train+select")
    assert not both.images.uniform
    assert Counter(image.shape[0] for image in both.images) == {12: 140, 10: 35}
    for image, identifier in zip(both.images, both.ids, strict=True):
        assert image.shape[0] == (12 if identifier.startswith("tr") else 10)


def test_data_that_is_not_there_is_named_with_the_steps_to_have_it(read: Read, tmp_path: Path) -> None:
    roles = read(dataclasses.replace(dataset(), locate=lambda folder: None))
    with pytest.raises(DatasetMissing, match=r"'faces' was not found in .*data: ask its authors"):
        roles.train("faces")
