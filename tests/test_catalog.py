"""Loading plugins and finding components by name."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ferbench import EpochResult, Recipe, Strategy, hookimpl
from ferbench.catalog import Catalog
from ferbench.components import Backbone, BackboneFamily, Dataset
from ferbench.errors import DuplicateName, PluginError, UnknownName, UsageError
from ferbench.plugin_source import Plugin
from ferbench.stages import RANDOM_WEIGHTS, Stage, StageSpec

STAGE = Stage("f" * 64, 0, "b", RANDOM_WEIGHTS, (), ("happy", "sad"), Recipe(), 0, None)
EPOCH = EpochResult(1, 100, 0.5, 10.0)


def absent(*given: object) -> Any:
    """Stands for a component's functions that a test never calls."""
    raise AssertionError(given)


BACKBONE = Backbone("same", 1, absent, absent, absent, 64, 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "head")
DATASET = Dataset("same", 1, ("happy", "sad"), ("all",), {"train": "all"}, absent, absent)


def on_target(target: str, auxiliaries: tuple[str, ...], recipe: Recipe) -> tuple[StageSpec, ...]:
    return (StageSpec((target,), 1.0),)


def plugin(name: str, **hooks: Callable[..., object]) -> Plugin:
    """A plugin of an imagined distribution; each hook is marked."""
    module = types.ModuleType(f"plugin_{name}")
    for hook, function in hooks.items():
        setattr(module, hook, hookimpl(function))
    return Plugin(name, f"{name}-dist 1.0", module)


def strategies(name: str, *components: object) -> Plugin:
    return plugin(name, ferbench_register_strategies=lambda: components)


def fill(*plugins: Plugin) -> Catalog:
    catalog = Catalog()
    for each in plugins:
        catalog.add(each)
    return catalog


def installed(folder: Path, name: str, source: str) -> None:
    """What pip leaves behind for a distribution with one plugin, in a folder on the path."""
    (folder / f"{name}.py").write_text(source, "utf-8")
    info = folder / f"{name}_dist-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 2.5\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[ferbench]\n{name} = {name}\n", "utf-8")


GOOD = """
from ferbench import Strategy, StageSpec, hookimpl
@hookimpl
def ferbench_register_strategies():
    return [Strategy("{name}", lambda target, auxiliaries, recipe: (StageSpec((target,), 1.0),))]
"""


def test_built_ins_are_there_without_anything_heavy_imported() -> None:
    code = (
        "import sys\nfrom ferbench.catalog import Catalog\ncatalog = Catalog.load()\ncatalog.strategy('cascade')\n"
        "catalog.backbones(), catalog.datasets(), catalog.strategies(), catalog.plugins()\n"
        "heavy = {'torch', 'torchvision', 'timm', 'transformers', 'sqlalchemy', 'sklearn', 'scipy', 'PIL', 'pandas'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_name_without_its_familys_prefix_imports_nothing_heavy_either() -> None:
    code = (
        "import sys\nfrom ferbench.catalog import Catalog\nfrom ferbench.errors import UnknownName\n"
        "try: Catalog.load().backbone('resnet5000')\n"
        "except UnknownName as error: print(error)\n"
        "print('torch' in sys.modules or 'timm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message, heavy = done.stdout.splitlines()
    assert message.startswith("no backbone named 'resnet5000'")
    assert heavy == "False"


def test_strangers_stand_beside_built_ins_and_a_broken_one_takes_nothing_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "broken_stranger", "import no_such_thing")
    installed(tmp_path, "misspelt_stranger", GOOD.format(name="lost").replace("strategies", "strategie"))
    installed(tmp_path, "good_stranger", GOOD.format(name="good"))
    monkeypatch.syspath_prepend(tmp_path)
    catalog = Catalog.load()
    assert {"good", "cascade"} <= {listing.name for listing in catalog.strategies()}
    failures = {failure.plugin: failure for failure in catalog.failures}
    assert failures["broken_stranger"].origin == "broken_stranger-dist 2.5"
    assert failures["broken_stranger"].line == (
        "plugin broken_stranger (broken_stranger-dist 2.5) could not be imported: "
        "ModuleNotFoundError: No module named 'no_such_thing'"
    )
    assert failures["misspelt_stranger"].line == (
        "plugin misspelt_stranger (misspelt_stranger-dist 2.5): there is no hook ferbench_register_strategie: "
        "did you mean ferbench_register_strategies?"
    )
    assert "good_stranger" not in failures
    loaded = [each.name for each in catalog.plugins()]
    assert loaded == sorted(loaded)
    assert "broken_stranger" not in loaded


def test_two_installed_plugins_with_one_name_end_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "rival", GOOD.format(name="cascade"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DuplicateName, match=r"^strategy 'cascade' is provided twice, by cascade \(.*rival-dist"):
        Catalog.load()


def test_a_local_file_is_loaded_once_and_its_strategy_works(tmp_path: Path) -> None:
    path = tmp_path / "local.py"
    path.write_text(GOOD.format(name="local"), "utf-8")
    catalog = Catalog.load([path, tmp_path / "." / "local.py"])
    assert catalog.strategy("local").stages("t", (), Recipe()) == (StageSpec(("t",), 1.0),)
    [loaded] = [each for each in catalog.plugins() if each.name == "local"]
    assert loaded.path == path


def test_a_broken_local_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "local.py"
    path.write_text("import no_such_thing", "utf-8")
    with pytest.raises(PluginError, match=r"local\.py line 1 could not be loaded"):
        Catalog.load([path])


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        (
            {"ferbench_register_backbone": lambda: []},
            "no hook ferbench_register_backbone: did you mean ferbench_register_b",
        ),
        ({"ferbench_xyz": lambda: []}, "no hook ferbench_xyz: there are: ferbench_register_backbones, "),
        ({"ferbench_epoch_finished": lambda epoc: None}, "epoc"),
        ({"ferbench_register_datasets": lambda: 1 / 0}, "ferbench_register_datasets raised ZeroDivisionError"),
        ({"ferbench_register_datasets": lambda: sys.exit(1)}, "ferbench_register_datasets raised SystemExit: 1"),
        ({"ferbench_register_datasets": lambda: None}, "ferbench_register_datasets raised TypeError"),
        ({"ferbench_register_datasets": lambda: [3]}, "3 is given as a dataset, but is none"),
        ({"ferbench_register_datasets": lambda: [Strategy("s", on_target)]}, "is given as a dataset, but is none"),
        (
            {"ferbench_register_strategies": lambda: [Strategy("a,b", on_target)]},
            "strategy 'a,b': its name",
        ),
        ({"ferbench_register_strategies": lambda: [Strategy("a+b", on_target)]}, "its name 'a+b' holds '+'"),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_named_in_one_line(
    hooks: dict[str, Callable[..., object]], said: str
) -> None:
    catalog = Catalog()
    with pytest.raises(PluginError) as caught:
        catalog.add(plugin("bad", **hooks))
    assert caught.value.line.startswith("plugin bad (bad-dist 1.0): ")
    assert said in caught.value.line
    assert catalog.plugins() == catalog.strategies() == catalog.datasets() == ()
    catalog.add(strategies("bad", Strategy("s", on_target)))


def test_a_hook_without_its_mark_is_not_passed_over() -> None:
    module = types.ModuleType("unmarked")
    module.ferbench_register_strategies = list  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="ferbench_register_strategies lacks its mark: write @"):
        Catalog().add(Plugin("unmarked", "x 1", module))


def test_a_wrapper_is_refused() -> None:
    module = types.ModuleType("wrapping")

    def around() -> Iterable[object]:
        return (yield)  # type: ignore[misc]

    module.ferbench_register_strategies = hookimpl(wrapper=True)(around)  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="ferbench_register_strategies is a wrapper"):
        Catalog().add(Plugin("wrapping", "x 1", module))


def test_an_object_with_methods_is_a_plugin_too() -> None:
    class Object:
        @hookimpl
        def ferbench_register_strategies(self) -> list[Strategy]:
            return [Strategy("mine", on_target)]

    catalog = fill(Plugin("object", "x 1", Object()))
    assert [listing.plugin for listing in catalog.strategies()] == ["object"]
    assert catalog.plugins()[0].path == Path(__file__)


def test_a_duplicate_name_names_both_plugins_and_leaves_the_first_as_it_was() -> None:
    catalog = fill(strategies("one", Strategy("s", on_target)))
    with pytest.raises(DuplicateName) as caught:
        catalog.add(strategies("two", Strategy("fresh", on_target), Strategy("s", on_target)))
    assert "strategy 's' is provided twice, by one (one-dist 1.0) and by two (two-dist 1.0)" in str(caught.value)
    assert [listing.name for listing in catalog.strategies()] == ["s"]
    with pytest.raises(DuplicateName, match="plugin 'one' is provided twice"):
        catalog.add(strategies("one", Strategy("other", on_target)))


def test_a_dataset_and_a_backbone_may_share_a_name() -> None:
    hooks = {"ferbench_register_backbones": lambda: [BACKBONE], "ferbench_register_datasets": lambda: [DATASET]}
    catalog = fill(plugin("both", **hooks))
    assert catalog.backbone("same") is BACKBONE
    assert catalog.dataset("same") is DATASET


def test_an_unknown_name_is_answered_with_a_suggestion() -> None:
    catalog = fill(strategies("one", Strategy("cascade", on_target), Strategy("lp-ft", on_target)))
    with pytest.raises(UnknownName, match="no strategy named 'casacde': did you mean cascade"):
        catalog.strategy("casacde")
    with pytest.raises(UnknownName, match="no strategy named 'lp_ft': did you mean lp-ft"):
        catalog.strategy("cascade+lp_ft")
    with pytest.raises(UnknownName, match="no dataset named 'x': there are none"):
        catalog.dataset("x")


@pytest.mark.parametrize("name", ["", "+", "s+", "+s", "s++s"])
def test_a_composition_with_a_gap_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        fill(strategies("one", Strategy("s", on_target))).strategy(name)


def test_stages_that_break_the_contract_are_caught_where_they_are_asked_for() -> None:
    greedy = Strategy("greedy", lambda target, auxiliaries, recipe: (StageSpec((target,), 0.7),) * 2)
    failing = Strategy("failing", lambda target, auxiliaries, recipe: auxiliaries[0])  # type: ignore[arg-type, return-value]
    catalog = fill(strategies("one", greedy, failing))
    with pytest.raises(PluginError, match=r"strategy 'greedy': the stages' shares sum to 1\.4, more than 1"):
        catalog.strategy("greedy").stages("t", (), Recipe())
    with pytest.raises(PluginError, match="strategy 'failing' failed: IndexError"):
        catalog.strategy("failing").stages("t", (), Recipe())


def watcher(name: str, seen: list[str], error: BaseException | None = None) -> Plugin:
    def watch(epoch: EpochResult) -> None:
        seen.append(f"{name} {epoch.epoch}")
        if error:
            raise error

    return plugin(name, ferbench_epoch_finished=watch)


@pytest.mark.parametrize("error", [ValueError("no\nroom"), SystemExit("no room")])
def test_an_observers_exception_is_one_warning_and_ends_nothing(error: BaseException) -> None:
    seen: list[str] = []
    warnings: list[str] = []
    catalog = fill(watcher("a", seen), watcher("b", seen, error), watcher("c", seen))
    for _ in range(2):
        catalog.epoch_finished(STAGE, EPOCH, warnings.append)
    assert sorted(seen) == ["a 1", "a 1", "b 1", "b 1", "c 1", "c 1"]
    kind = type(error).__name__
    assert warnings == [f"plugin b (b-dist 1.0): ferbench_epoch_finished raised {kind}: no room; the run goes on"]


def test_control_c_in_an_observer_is_not_swallowed() -> None:
    catalog = fill(watcher("a", [], KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        catalog.epoch_finished(STAGE, EPOCH, print)


def test_families_are_resolved_when_asked_for() -> None:
    family = BackboneFamily("acme/", lambda name: replace(BACKBONE, name=name), absent)
    catalog = fill(plugin("acme", ferbench_register_backbones=lambda: [family, BACKBONE]))
    assert [(each.name, each.component) for each in catalog.backbones()] == [("acme/", family), ("same", BACKBONE)]
    assert catalog.backbone("acme/x").name == "acme/x"
