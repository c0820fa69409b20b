"""What benchmarks/ measures with: peers do the same work as ferbench, the clock is right, and nothing needs a GPU."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import device_figures
import numpy as np
import profile_step
import pytest
import stamping
import torch
from goals import Goal, loop_goals
from peers import installed as installed_peers
from peers import race as races
from peers.faces import PilFaces
from peers.ferbench_loop import ferbench_loop
from peers.lightning_fit import lightning_loop
from peers.race import Pairs, Peer
from peers.stopwatch import steady_seconds
from peers.torch_loops import bare_loop, dataloader_loop
from peers.transformers_trainer import trainer_loop
from peers.work import CLASSES, Run, Work, batches_ahead
from tiny import Bench, tiny_backbone, tiny_catalog
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_post_hook

from ferbench.plugin_source import from_file
from ferbench.records import EpochResult, Training
from ferbench.speed import Measuring

ROOT = Path(__file__).parent.parent
STEPS = 30
SIZE = 64
BATCH = 5


def _marked_faces(count: int) -> np.ndarray:
    """Black but for a bright square off the centre: where it comes to lie tells how a picture was moved.

    Its grey value names the picture.
    """
    faces = np.zeros((count, 48, 48, 1), dtype=np.uint8)
    assert count <= 200
    values = 55 + np.arange(count)
    faces[:, 8:16, 30:38, 0] = values[:, None, None]
    return faces


@dataclasses.dataclass(frozen=True)
class _MarkedWork(Work):
    @property
    def faces(self) -> np.ndarray:
        return _marked_faces(self.batch_size * (1 + self.steps + self.spare))


def _work(steps: int = STEPS) -> Work:
    return _MarkedWork("tiny", SIZE, steps, batch_size=BATCH, plugin=tiny_backbone())


LOOPS: dict[str, tuple[str, Callable[[Work], Run]]] = {
    "ferbench": ("torch", ferbench_loop),
    "bare": ("torch", bare_loop),
    "DataLoader": ("torch", dataloader_loop),
    "DataLoader, contiguous": ("torch", lambda work: dataloader_loop(work, 2, torch.contiguous_format)),
    "Trainer on tensors": ("accelerate", lambda work: trainer_loop(work, pil=False)),
    "Trainer on tensors, workers": ("accelerate", lambda work: trainer_loop(work, pil=False, workers=2)),
    "Trainer on PIL": ("accelerate", lambda work: trainer_loop(work, pil=True, workers=2)),
    "Lightning on tensors": ("lightning", lambda work: lightning_loop(work, pil=False)),
    "Lightning on PIL": ("lightning", lambda work: lightning_loop(work, pil=True, workers=2)),
}


@dataclasses.dataclass
class _Seen:
    """What went through a module and into the loss, and what the optimizer was.

    losses : with the logits and labels that they are of
    """

    inputs: list[Tensor] = dataclasses.field(default_factory=list)
    losses: list[tuple[float, Tensor, Tensor]] = dataclasses.field(default_factory=list)
    steps: int = 0
    optimizers: set[tuple[object, ...]] = dataclasses.field(default_factory=set)


def _watched(loop: Callable[[Work], Run], work: Work) -> _Seen:
    torch.manual_seed(1)
    seen = _Seen()
    run = loop(work)
    cross_entropy = functional.cross_entropy

    def lost(logits: Tensor, labels: Tensor, *arguments: object, **named: object) -> Tensor:
        loss: Tensor = cross_entropy(logits, labels, *arguments, **named)  # type: ignore[arg-type]
        seen.losses.append((loss.item(), logits.detach().clone(), labels.clone()))
        return loss

    def stepped(optimizer: torch.optim.Optimizer, *_: object) -> None:
        seen.steps += 1
        decayed = Counter[float]()
        for group in optimizer.param_groups:
            decayed[group["weight_decay"]] += sum(parameter.numel() for parameter in group["params"])
        (rule,) = {(group["momentum"], group["nesterov"], group["fused"]) for group in optimizer.param_groups}
        seen.optimizers.add((type(optimizer).__name__, *rule, *sorted(decayed.items())))

    def passed(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert module.training
        assert torch.is_grad_enabled()
        seen.inputs.append(inputs[0].detach().clone())

    handles = [register_optimizer_step_post_hook(stepped)]
    handles += [
        work.module(form).register_forward_pre_hook(passed) for form in (torch.channels_last, torch.contiguous_format)
    ]
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(functional, "cross_entropy", lost)
            run(work.steps)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _moves(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Column and row of the square's centre, float32 [n], from -1 to 1, and its area in pixels of the source."""
    bright = inputs[:, 0] - inputs[:, 0].amin(dim=(1, 2), keepdim=True)
    bright = bright / bright.amax(dim=(1, 2), keepdim=True)
    at = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    mass = bright.sum(dim=(1, 2))
    return (bright.sum(1) * at).sum(1) / mass, (bright.sum(2) * at).sum(1) / mass, mass * (48 / SIZE) ** 2


@pytest.mark.parametrize("name", LOOPS)
def test_every_loop_does_the_same_work(name: str) -> None:
    needs, loop = LOOPS[name]
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed: pip install ferbench[bench]")
    work = _work()
    seen = _watched(loop, work)
    # One step more than what is timed, full batches, each picture once at most.
    assert seen.steps == len(seen.inputs) == 1 + STEPS
    assert {tuple(batch.shape) for batch in seen.inputs} == {(BATCH, 3, SIZE, SIZE)}
    assert {batch.dtype for batch in seen.inputs} == {torch.float32}
    parameters = list(work.module().parameters())
    weights = sum(parameter.numel() for parameter in parameters if parameter.ndim > 1)
    rest = sum(parameter.numel() for parameter in parameters) - weights
    assert seen.optimizers == {("SGD", 0.9, True, True, (0.0, rest), (5e-4, weights))}
    inputs = torch.cat(seen.inputs)
    # Normalised with the backbone's mean and deviation: black is -2. The square's inner pixels stay as they are.
    assert inputs.amin() == pytest.approx(-2.0, abs=1e-5)
    names = ((inputs.amax(dim=(1, 2, 3)) * 0.25 + 0.5) * 255).round().int().tolist()
    assert len(set(names)) == len(names) == BATCH * (1 + STEPS)
    assert set(names) <= set(range(55, 255))
    assert torch.equal(inputs[:, 0], inputs[:, 1])
    # Each picture comes with its own label; the loss is the batch's mean of smoothed cross-entropies.
    assert len(seen.losses) == 1 + STEPS
    assert torch.cat([labels for _, _, labels in seen.losses]).tolist() == [(name - 55) % CLASSES for name in names]
    for loss, logits, labels in seen.losses:
        scores = logits.double().numpy()
        surprise = np.log(np.exp(scores).sum(axis=1, keepdims=True)) - scores
        own = surprise[np.arange(BATCH), labels.numpy()]
        assert loss == pytest.approx((0.95 * own + 0.05 * surprise.mean(axis=1)).mean(), rel=1e-5)
    across, down, area = _moves(inputs)
    # The square's centre is at 34 of 48 columns and 12 of 48 rows.
    home = torch.tensor([34 / 24 - 1, 12 / 24 - 1])
    mirrored = across < 0
    assert 0.35 < mirrored.float().mean() < 0.65
    aside = across.abs() - home[0]
    # A shift of 0.08 of the side is 0.16 here; rotation by 10 degrees and scale move the square by up to 0.13 more.
    assert aside.abs().max() < 0.33
    assert 0.07 < aside.std() < 0.15
    assert 0.07 < (down - home[1]).std() < 0.15
    assert 0.75 < area.min() / 64 < 0.9
    assert 1.1 < area.max() / 64 < 1.3


def test_the_clock_leaves_out_what_comes_before_the_first_and_after_the_last_step() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight])

    def run(steps: int) -> None:
        time.sleep(0.2)
        for _ in range(1 + steps):
            time.sleep(0.01)
            weight.grad = torch.ones(1)
            optimizer.step()
        time.sleep(0.2)

    assert 0.05 <= steady_seconds(run, 5, "cpu") < 0.2
    with pytest.raises(RuntimeError, match="6 optimizer steps instead of 5"):
        steady_seconds(lambda steps: run(steps + 1), 4, "cpu")
    # The hook is gone after a run that went wrong too.
    assert steady_seconds(run, 1, "cpu") < 0.2


def test_workers_have_as_much_to_do_at_the_end_as_before() -> None:
    """What a DataLoader has given out when the first batch is there, and when the last that is timed is."""
    work = _work(steps=3)
    drawn: list[int] = []

    class Counted(torch.utils.data.Sampler[list[int]]):
        def __iter__(self) -> Iterator[list[int]]:
            for at in range(0, len(work.faces), BATCH):
                drawn.append(at)
                yield list(range(at, at + BATCH))

    loader = torch.utils.data.DataLoader(PilFaces(work), batch_sampler=Counted(), num_workers=2)
    batches = iter(loader)
    for number in range(1, 1 + 1 + work.steps):
        next(batches)
        assert number < len(drawn) <= number + batches_ahead(2)
    assert len(drawn) < len(work.faces) // BATCH
    for _ in batches:
        pass
    assert batches_ahead(8) >= 2 * 8


def test_a_race_takes_the_better_setting_and_pairs_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    seconds = {"ours": 2.0, "slow": 9.0, "fast": 3.0, "b": 1.0, "c": 4.0}

    def named(name: str) -> Run:
        def run(steps: int) -> None:
            turns.append(name)

        return run

    def timed(run: Run, steps: int, device: str) -> float:
        run(steps)
        return seconds[turns[-1]]

    monkeypatch.setattr(races, "steady_seconds", timed)
    peers = [
        Peer("a", {"slow": named("slow"), "fast": named("fast")}),
        Peer("b", {"": named("b")}),
        Peer("c", {"": named("c")}),
    ]
    found = races.race(_work(), named("ours"), peers, rounds=2)
    assert turns[:9] == ["ours", "slow", "fast", "slow", "fast", "b", "b", "c", "c"]
    # Every turn of a peer is next to one of ours.
    assert turns[9:] == ["fast", "ours", "b", "c", "ours", "c", "ours", "b", "ours", "fast"]
    assert [(pairs.peer, pairs.setting, pairs.ratio) for pairs in found] == [
        ("a", "fast", 1.5),
        ("b", "", 0.5),
        ("c", "", 2.0),
    ]
    assert found[0].ratios == (1.5, 1.5)


@pytest.fixture
def small_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices that are multiplied in no time; what they tell is wrong."""
    monkeypatch.setattr("ferbench.flops._LARGEST", 256)


@pytest.mark.usefixtures("small_product")
def test_the_parts_of_a_step_add_up() -> None:
    work = Work("tiny", 48, 3, batch_size=4, plugin=tiny_backbone())
    began = time.perf_counter()
    found = profile_step.profiled(work)
    spent = time.perf_counter() - began
    assert set(found.parts) == set(profile_step.PARTS)
    assert all(seconds > 0 for seconds in found.parts.values())
    assert found.seconds * work.steps < spent
    # Twice the MACs of a 3 x 3 convolution from 3 to 8 channels at 48 x 48 and of a layer from 288 to 7; backward is
    # twice forward; four images.
    assert found.flops == 3 * 4 * 2 * (48 * 48 * 8 * 27 + 288 * 7)
    text = profile_step.text(found)
    assert "backward" in text
    assert "convolution" in text
    assert max(len(line) for line in text.splitlines()) <= profile_step.WIDTH


@pytest.mark.usefixtures("small_product")
def test_speed_and_data_path_come_out_of_a_cpu_too() -> None:
    measuring = Measuring(batch_size=4, repeats=2, repeat_seconds=0.01)
    table, (measured,) = device_figures.speed_table([tiny_backbone()], 16, "cpu", measuring)
    assert len(table.rows) == 1
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert measured.training_mfu > 0
    pairs = device_figures.data_path(_work(steps=4), rounds=2)
    assert len(pairs.ratios) == 2
    assert device_figures.loops_table("t", [(_work(4), pairs)]).rows[0][0] == "tiny at 64"


def test_the_peers_of_a_gpu_run_on_a_cpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = _benchmark_file("test_gpu")
    work = Work("tiny", 48, 2, batch_size=2, plugin=tiny_backbone())
    monkeypatch.setattr(suite, "_works", lambda steps: [work])
    monkeypatch.setattr(suite, "WORKERS", (0,))
    monkeypatch.setattr(suite, "ROUNDS", 1)
    monkeypatch.setattr(suite, "FAR_BELOW", 0.0)
    tables: list[device_figures.Table] = []
    suite.test_loop_against_all_peers(tables)
    (table,) = tables
    named = {row[1] for row in table.rows}
    assert {"bare loop on tensors", "DataLoader of PIL images (0 workers)"} <= named
    assert {row[0] for row in table.rows} == {"tiny at 48"}
    verdicts = {row[1]: row[5] for row in table.rows if row[5]}
    assert "P1 >= 0.98" in verdicts.pop("bare loop on tensors")
    ((_, best),) = verdicts.items()
    assert best.startswith("P2 >= 1 ")


def test_time_to_accuracy_is_read_from_the_history(tmp_path: Path) -> None:
    rows = [(1, 10, 5.0, 0.2), (2, 20, 2.0, 0.5), (3, 30, 1.0, 0.9)]
    history = [EpochResult(number, seen, 1.0, rate, found) for number, seen, rate, found in rows]
    # 10 images at 5 a second and 10 at 2 a second.
    assert device_figures.reached(history, 0.5) == (7.0, 20)
    assert device_figures.reached(history, 0.95) == (None, None)
    learned = device_figures.time_to_accuracy(
        tiny_catalog(),
        tmp_path,
        "cpu",
        backbone="tiny",
        target="small",
        auxiliary="big",
        recipe={"images_seen": 600, "precision": "fp32"},
        level=0.3,
        weights="random",
    )
    # Bars of all classes are equally many.
    assert learned.majority == pytest.approx(1 / 7)
    assert (learned.weights, learned.pretrained) == ("random", False)
    assert learned.best > 0.3
    assert learned.seconds is not None
    assert 0 < learned.seconds <= learned.wall_seconds
    assert learned.images is not None
    assert "30% reached after" in learned.sentence()
    assert "was not reached" in dataclasses.replace(learned, seconds=None).sentence()


def test_a_snapshot_is_markdown_and_named_after_device_and_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_figures, "device_kind", lambda device: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch, "__version__", "2.14.1+cu130")
    assert device_figures.snapshot_name("cuda:0") == "speed-nvidia-h100-80gb-hbm3-torch-2.14.1+cu130.md"
    pairs = Pairs("bare loop", "", (2.0, 2.0, 3.0), (1.0, 2.0, 1.0))
    work = Work("vgg16", 224, 10, batch_size=100)
    table = device_figures.loops_table("Loops", [(work, pairs)], "A note.")
    text = device_figures.snapshot("somewhere", "pytest", [table])
    assert "| vgg16 at 224 | bare loop | 2.00 (1.00 to 3.00) | 1,000 | 500 |" in text
    assert text.startswith("# Speed on one device\n\nsomewhere. Written by `pytest`.\n")
    assert "A note." in text


def _benchmark_file(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_summary_is_narrow_and_a_snapshot_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conftest = _benchmark_file("conftest")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    long = "a whole matrix with so many words that they need more than one line of the summary, as some do"
    conftest._ROWS.append(conftest._Row("", long, (1.0, 1.5, 9.0), "12.3 s", "18.4 s"))
    conftest._ROWS.append(conftest._Row("vgg16 at 224", "bare loop", (0.98,), "1234/s", "1259/s"))
    noted = conftest._Notes()
    noted("a group", "in time", 0.0625, 0.625, Goal("P4", ">=", 10))
    noted("a group", "too slow, with a name that is longer than its column", 12345.6, 123456.0, Goal("P4", ">=", 10.5))
    noted("a group", "a third of the time", 2.0, 6.0, Goal("P2b", "<=", 0.5))
    noted.figure("a command", Goal("P5", "<=", 0.2, "s"), 0.21)
    monkeypatch.setattr(installed_peers, "LOOPS", {"Trainer": (trainer_loop, "no_such_package")})
    conftest._TABLES.append(device_figures.Table("A table", ("a", "b"), (("1", "2"),)))
    written: list[str] = []
    reporter = SimpleNamespace(write_line=written.append, section=written.append)
    config = SimpleNamespace(option=SimpleNamespace(snapshot=str(tmp_path)))
    conftest.pytest_terminal_summary(reporter, config)
    text = "\n".join(written)
    assert "1.500 (1.00 to 9.00)" in text
    assert f"10.000 {'':16} 0.0625 s  0.625 s P4 >= 10 reached" in text
    assert "P4 >= 10.5 missed" in text
    assert f" 3.000 {'':16}      2 s      6 s P2b <= 0.5 reached" in text
    assert "a command: 0.21 s (P5 <= 0.2 s missed)" in text
    assert text.endswith(
        "goals: 2 reached, 2 missed\n"
        "P4 >= 10.5 missed at 10: a group: too slow, with a name that is longer than its column\n"
        "P5 <= 0.2 s missed at 0.21 s: a command"
    )
    assert "absent because they are not installed: Trainer (needs no_such_package)" in text
    assert max(len(line) for line in text.splitlines() if "Some GPU" not in line) <= conftest.WIDTH
    (file,) = tmp_path.iterdir()
    assert file.name == f"speed-some-gpu-torch-{torch.__version__}.md"
    assert "| 1 | 2 |" in file.read_text()


def test_goals_are_of_the_bare_loop_and_of_the_best_peer() -> None:
    goal = Goal("P", "<=", 0.5)
    assert goal.verdict(0.5) == "P <= 0.5 reached"
    assert goal.verdict(0.501) == "P <= 0.5 missed"
    found = [
        Pairs(name, "", (seconds,), (1.0,)) for name, seconds in (("bare loop on tensors", 0.5), ("a", 3.0), ("b", 2.0))
    ]
    assert {peer: goal.name for peer, goal in loop_goals(found).items()} == {"bare loop on tensors": "P1", "b": "P2"}


def test_what_follows_the_last_step_is_measured_from_outside(
    make_bench: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = "epoch a 1.0\nepoch a 2.0\nstage a 2.5\nepoch b 4.0\nstage b 4.25\n"
    assert stamping.seconds_after_steps(notes) == 0.75
    monkeypatch.setenv(stamping.VARIABLE, str(tmp_path / "stamps"))
    catalog = tiny_catalog()
    catalog.add(from_file(Path(stamping.__file__)))
    bench = make_bench(catalog=catalog)
    began = time.perf_counter()
    outcome = bench.run("cascade+linear-probe target-only")
    wall = time.perf_counter() - began
    assert not outcome.failed
    text = (tmp_path / "stamps").read_text()
    stages = [line.split()[1] for line in text.splitlines() if line.startswith("stage")]
    assert sorted(stages) == sorted(training.stage for training in bench.store.trainings())
    trained = sum(training.spent_seconds or 0.0 for training in bench.store.trainings())
    assert 0 < stamping.seconds_after_steps(text) < wall - trained


def test_a_matrix_is_measured_in_three_ways() -> None:
    suite = _benchmark_file("test_matrix")
    trainings = [Training("a", 64, 9.0, 3.0, 8, "cpu", 2, 0.0), Training("b", 64, 2.0, None, 8, "cpu", 2, 0.0)]
    ours = suite.Ours(suite.Spent(10.0, 12.0, 2.0), 1.5, [], trainings, 128)
    # 3 + 2 seconds of training: of 10 in all, of 8 from the first stage on, of 6.5 without what follows a last step.
    assert list(ours.over_stages().values()) == pytest.approx([2.0, 1.6, 1.3])
    spent = suite._spent([sys.executable, "-c", "import time; time.sleep(0.1); print('stage 1/2')"], {})
    assert 0.1 <= spent.before_stages <= spent.wall
    stages = [{"fingerprint": name, "seconds": seconds} for name, seconds in (("a", "3"), ("a", "4"), ("b", "1"))]
    assert suite.ByHand(0, spent, [], stages).shared_seconds == pytest.approx(spent.wall - 8 + 3 + 1)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("test_*.py")))
def test_benchmark_files_import(name: str) -> None:
    assert [each for each in vars(_benchmark_file(name)) if each.startswith("test_")]
