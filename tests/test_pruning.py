"""What goes and what stays: whatever lies there, nothing that is needed goes, and the bound is met if it can be."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import ferbench.cache.pruning as module
from ferbench.cache.folder import KINDS, CacheEntry
from ferbench.cache.pruning import FATES, WITHOUT_ASKING, Kept, Needs, keep_within, removable
from ferbench.fingerprints import fingerprint

NAMES = [fingerprint(number) for number in range(12)]
names = st.sampled_from(NAMES)
needs_of_any_kind = st.builds(
    Needs,
    finals=st.dictionaries(names, st.just(("row",))),
    known=st.frozensets(names),
    unfinished=st.frozensets(names),
)
entries_of_any_kind = st.lists(
    st.builds(
        CacheEntry,
        kind=st.sampled_from(KINDS),
        name=names,
        paths=st.just((Path("file"),)),
        bytes=st.integers(0, 1000),
        used_at=st.integers(0, 50).map(float),
    ),
    unique_by=lambda entry: (entry.kind, entry.name),
    max_size=25,
)
bounds = st.integers(0, 12_000)


def entry(kind: str, name: str, size: int = 10, used_at: float = 0.0) -> CacheEntry:
    return CacheEntry(kind, name, (Path(name),), size, used_at)  # type: ignore[arg-type]


def total(entries: list[CacheEntry]) -> int:
    return sum(each.bytes for each in entries)


@given(entries_of_any_kind, needs_of_any_kind, bounds)
def test_nothing_that_is_needed_goes_unasked(entries: list[CacheEntry], needs: Needs, bound: int) -> None:
    for gone in removable(entries, needs, bound):
        if gone.kind == "checkpoints":
            assert gone.name in needs.known
            assert gone.name not in needs.finals and gone.name not in needs.unfinished
        assert gone.kind != "partials"


@given(entries_of_any_kind, needs_of_any_kind, bounds, st.sets(st.sampled_from(FATES)))
def test_the_bound_is_met_if_it_can_be_and_no_more_goes(
    entries: list[CacheEntry], needs: Needs, bound: int, allowed: set[str]
) -> None:
    going = removable(entries, needs, bound, allowed)  # type: ignore[arg-type]
    assert len(set(going)) == len(going) and set(going) <= set(entries)
    left = total(entries) - total(going)
    able = [each for each in entries if needs.fate(each) in allowed]
    assert {needs.fate(each) for each in going} <= allowed
    if left > bound:
        assert set(going) == set(able)
    chosen = [each for each in going if needs.fate(each) != "leftover"]
    if chosen:
        assert left + chosen[-1].bytes > bound
    assert all(each in going for each in able if needs.fate(each) == "leftover")


@given(entries_of_any_kind, needs_of_any_kind, bounds)
def test_the_oldest_of_the_least_needed_goes_first(entries: list[CacheEntry], needs: Needs, bound: int) -> None:
    going = removable(entries, needs, bound, FATES)
    order = [(FATES.index(needs.fate(each)), each.used_at) for each in going]
    assert order == sorted(order)
    for stays in set(entries) - set(going):
        assert all((FATES.index(needs.fate(stays)), stays.used_at) >= each for each in order)
    # Whatever a smaller bound leaves, a larger one leaves too.
    assert set(removable(entries, needs, bound + 100, FATES)) <= set(going)


def test_fates_by_hand() -> None:
    needs = Needs(finals={"final": ("row",)}, known={"final", "parent", "waiting"}, unfinished={"waiting", "final"})
    fates = {
        (kind, name): needs.fate(entry(kind, name))
        for kind in ("checkpoints", "partials")
        for name in ("final", "parent", "waiting", "foreign")
    }
    assert fates == {
        ("checkpoints", "final"): "board",
        ("checkpoints", "parent"): "free",
        ("checkpoints", "waiting"): "unfinished",
        ("checkpoints", "foreign"): "unknown",
        ("partials", "final"): "unfinished",
        ("partials", "parent"): "unfinished",
        ("partials", "waiting"): "unfinished",
        ("partials", "foreign"): "unfinished",
    }
    assert {needs.fate(entry(kind, "final")) for kind in ("features", "splits", "reduced")} == {"free"}
    assert needs.fate(entry("leftovers", "new-x")) == "leftover"


def put(folder: Path, kind: str, name: str, size: int, used_at: float) -> Path:
    path = folder / kind / (name + (".safetensors" if kind in ("checkpoints", "partials") else ".npy"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (used_at, used_at))
    return path


def test_the_folder_is_kept_within_its_bound_at_the_end_of_a_run(tmp_path: Path) -> None:
    final, parent, later, foreign = NAMES[:4]
    kept = [put(tmp_path, "checkpoints", final, 100, 1), put(tmp_path, "checkpoints", foreign, 10, 1)]
    old = put(tmp_path, "checkpoints", parent, 50, 2)
    waiting = put(tmp_path, "checkpoints", later, 50, 3)
    features = put(tmp_path, "features", parent, 30, 4)
    needs = Needs(finals={final: ("row",)}, known={final, parent, later})
    asked: list[int] = []

    def ask() -> Needs:
        asked.append(1)
        return needs

    within = keep_within(tmp_path, 240, ask)
    assert (within, asked) == (Kept(240, 240), [])
    within = keep_within(tmp_path, 200, ask, also_unfinished={later})
    assert [each.paths for each in within.removed] == [(old,)] and not old.exists()
    assert (within.bytes, within.staying, within.faults) == (190, {}, ())
    within = keep_within(tmp_path, 100, ask, also_unfinished={later})
    assert [each.paths for each in within.removed] == [(features,)]
    assert (within.bytes, within.staying) == (160, {"board": 100, "unknown": 10, "unfinished": 50})
    within = keep_within(tmp_path, 0, ask)
    assert (within.bytes, within.staying) == (110, {"board": 100, "unknown": 10})
    assert not waiting.exists() and all(path.exists() for path in kept)


def test_leftovers_go_though_there_is_room(tmp_path: Path) -> None:
    left = tmp_path / "checkpoints" / "new-x"
    left.parent.mkdir()
    left.write_bytes(b"x" * 9)
    os.utime(left, (1, 1))
    features = put(tmp_path, "features", NAMES[0], 30, 4)
    within = keep_within(tmp_path, 1000, Needs)
    assert not left.exists() and features.exists()
    assert (within.bytes, [each.kind for each in within.removed]) == (30, ["leftovers"])


def test_what_cannot_be_removed_is_told_and_the_rest_goes(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    for number in range(3):
        put(tmp_path, "features", NAMES[number], 10, number)
    remove = module.remove_entry

    def refuse_one(each: CacheEntry) -> bool:
        if each.name == NAMES[1]:
            raise module.CheckpointError(f"{each.name} cannot be removed")
        return remove(each)

    monkeypatch.setattr(module, "remove_entry", refuse_one)
    within = keep_within(tmp_path, 0, Needs)
    assert [each.name for each in within.removed] == [NAMES[0], NAMES[2]]
    assert within.faults == (f"{NAMES[1]} cannot be removed",)
    assert (within.bytes, within.staying) == (10, {"free": 10})


@settings(max_examples=25, deadline=None)
@given(entries=entries_of_any_kind, needs=needs_of_any_kind, bound=bounds)
def test_what_stays_adds_up(entries: list[CacheEntry], needs: Needs, bound: int) -> None:
    """The files themselves are not made: listing and removal stand in for them."""
    original = module.cache_entries, module.remove_entry
    module.cache_entries, module.remove_entry = lambda folder: entries, lambda each: True  # type: ignore[assignment]
    try:
        within = keep_within(Path("anywhere"), bound, lambda: needs)
    finally:
        module.cache_entries, module.remove_entry = original  # type: ignore[assignment]
    assert within.bytes == total(entries) - total(list(within.removed))
    if within.bytes > bound:
        assert sum(within.staying.values()) == within.bytes
        assert not WITHOUT_ASKING & {fate for fate, size in within.staying.items() if size}
    else:
        assert within.staying == {}
