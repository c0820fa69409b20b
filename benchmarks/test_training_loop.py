"""The training loop against a bare loop, a DataLoader of PIL images, transformers.Trainer and Lightning.

All train the same backbone on the same number of images in batches of 32, fp32, with the same optimizer (SGD with
Nesterov's momentum, fused), the same augmentation (`peers.work`), the same threads, and an allocator that keeps what is
freed. A peer gets the settings that suit it: of those named in its row the fastest in a trial takes part.

In the time: all that a loop does for a step. Out of it: building a Trainer, starting workers, the first batch and the
first step, and what comes after the last (`peers.stopwatch`).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peers.ferbench_loop import ferbench_loop
from peers.installed import installed
from peers.race import Pairs, Peer
from peers.torch_loops import BARE, bare_loop, dataloader_loop
from peers.work import Run, Work

Raced = Callable[..., list[Pairs]]

#: What no loop may fall below, whatever the noise. The summary says whether the goals are reached (`goals`).
FAR_BELOW = 0.8

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def bare(work: Work) -> Peer:
    return Peer(BARE, {"": bare_loop(work)})


def peers_of(work: Work) -> list[Peer]:
    """Those that are installed, each on tensors and on PIL images, with all the settings that may suit it."""
    workers = (0, 2) if work.device == "cpu" else (0,)
    found = [
        bare(work),
        Peer(
            "DataLoader of PIL images",
            {f"2 workers, {word}": dataloader_loop(work, 2, form) for word, form in FORMATS.items()},
        ),
    ]
    for name, loop in installed().items():
        tensors: dict[str, Run] = {f"{count} workers": loop(work, pil=False, workers=count) for count in workers}
        pil: dict[str, Run] = {
            f"{count} workers, {word}": loop(work, pil=True, workers=count, memory_format=form)
            for count in (0, 2)
            for word, form in FORMATS.items()
        }
        found += [Peer(f"{name} on tensors", tensors), Peer(f"{name} on PIL images", pil)]
    return found


@pytest.mark.parametrize(
    ("backbone", "image_size", "steps"),
    [("alexnet", 64, 8), ("vgg11", 48, 6), ("tv/mobilenet_v2", 64, 12), ("tv/resnet18", 48, 12)],
)
def test_loop_against_a_bare_loop(raced: Raced, backbone: str, image_size: int, steps: int) -> None:
    work = Work(backbone, image_size, steps)
    (pairs,) = raced(work, ferbench_loop(work), [bare(work)], rounds=7)
    assert pairs.ratio > FAR_BELOW


def test_vgg_as_a_stage_trains_it(raced: Raced) -> None:
    """Its first full layer as a matrix product (ferbench/placed_module.py), against the bare loop on what was built."""
    work = Work("vgg16", 48, 4)
    (pairs,) = raced(work, ferbench_loop(work, module=work.placed_module()), [bare(work)], rounds=5)
    assert pairs.ratio > FAR_BELOW


@pytest.mark.parametrize(("backbone", "image_size", "steps"), [("alexnet", 112, 8), ("tv/mobilenet_v3_small", 64, 24)])
def test_loop_against_all_peers(raced: Raced, backbone: str, image_size: int, steps: int) -> None:
    work = Work(backbone, image_size, steps)
    found = raced(work, ferbench_loop(work), peers_of(work), rounds=5)
    assert min(pairs.ratio for pairs in found) > FAR_BELOW
