"""A matrix of cells as one writes it by hand with transformers.Trainer: the peer of `ferbench run`. Needs no ferbench.

    python trainer_matrix.py --plan plan.json --data FOLDER --out FOLDER --images per-image --workers 2

The plan lists cells with the stages of their chains; the data folder holds DATASET-train.npz and DATASET-report.npz,
images uint8 [n, H, W, C] and labels int64 [n]. It writes results.csv (a line a cell), stages.csv (a line a stage) and
predictions/CELL.npy, the report split's logits, float32 [n, 7].

What it does well: pictures are decoded and brought to size once for all cells; what is not augmented is normalised
once too; channels_last, the fused optimizer, no clipping, no logging, no evaluation or checkpoint between; the frozen
part gets no gradients; grey pictures stay grey until they are normalised; worker processes, where there are any, stay
for the whole stage. Two ways of augmenting:

per-image : torchvision's v2 transforms on one PIL picture at a time, as most scripts have it
batched : one grid_sample and one colour change for a whole batch of tensors, as few have it

With `--trial` it trains the first stage of the first cell and no more: what tells how many workers suit the machine.

What it does not do: share a stage between cells (every cell is trained from its start), compute the features of a
frozen backbone once, keep checkpoints and the select split's predictions, go on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from torchvision import models
from torchvision.transforms import v2
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import set_seed

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = 7

#: How a backbone is built, and the name of its head.
BACKBONES: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "alexnet": (models.alexnet, "classifier.6"),
    "tv/mobilenet_v3_small": (models.mobilenet_v3_small, "classifier.3"),
}


class Classifier(nn.Module):
    """A backbone with its loss; where the head alone is trained, the rest gets no gradients and stays in eval mode."""

    def __init__(self, backbone: nn.Module, head: str) -> None:
        super().__init__()
        self.backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head = backbone.get_submodule(head)
        self.head_only = False
        self.label_smoothing = 0.0
        self.images_trained = 0

    def prepare(self, head_only: bool, label_smoothing: float) -> None:
        """Set up for the next stage."""
        self.head_only, self.label_smoothing = head_only, label_smoothing
        self.backbone.requires_grad_(not head_only)
        self.head.requires_grad_(True)

    def train(self, mode: bool = True) -> Classifier:
        """The frozen part stays in eval mode."""
        super().train(mode)
        if mode and self.head_only:
            self.backbone.eval()
            self.head.train()
        return self

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss and logits float32 [n, 7] of pixels float32 [n, 3, S, S]."""
        if self.training:
            self.images_trained += len(labels)
        logits = self.backbone(pixel_values.contiguous(memory_format=torch.channels_last))
        return {
            "loss": functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing),
            "logits": logits,
        }


class Pictures(Dataset[dict[str, Tensor]]):
    """One split, in size S already; nothing is random."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, size: int) -> None:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        resize = v2.Resize((size, size), antialias=True)
        #: [n, C, S, S], one channel for grey.
        self.uint8 = resize(pixels).contiguous()
        self.coloured = images.shape[3] == 3
        self.labels = torch.from_numpy(labels)
        self.normalised = normalise(self.uint8.float())

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        chosen = torch.tensor(indices)
        return {"pixel_values": self.normalised[chosen], "labels": self.labels[chosen]}


class AugmentedBatches(Dataset[dict[str, Tensor]]):
    """Augmented a batch at a time on tensors."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        chosen = torch.tensor(indices)
        count = len(chosen)
        uniform = torch.rand(6, count) * 2 - 1
        angle, zoom = uniform[0] * math.radians(10), 1 + 0.1 * uniform[1]
        mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
        cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
        rows = [cos * mirror, -sin, 0.16 * uniform[2], sin * mirror, cos, 0.16 * uniform[3]]
        grid = functional.affine_grid(
            torch.stack(rows, 1).view(count, 2, 3), [count, 1, *self.pictures.uint8.shape[2:]], align_corners=False
        )
        pixels = functional.grid_sample(
            self.pictures.uint8[chosen].float(), grid, padding_mode="border", align_corners=False
        )
        if self.pictures.coloured:
            brightness, contrast = (1 + 0.2 * row.view(-1, 1, 1, 1) for row in uniform[4:])
            mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
            pixels = ((pixels - mean) * contrast + mean * brightness).clamp_(0, 255)
        return {"pixel_values": normalise(pixels), "labels": self.pictures.labels[chosen]}


class AugmentedPictures(Dataset[tuple[Tensor, int]]):
    """Augmented a PIL picture at a time."""

    def __init__(self, pictures: Pictures) -> None:
        self.pil = [v2.functional.to_pil_image(image) for image in pictures.uint8]
        self.labels = pictures.labels.tolist()
        bilinear = v2.InterpolationMode.BILINEAR
        self.transform = v2.Compose(
            [
                v2.RandomAffine(10, translate=(0.08, 0.08), scale=(0.9, 1.1), interpolation=bilinear),
                v2.RandomHorizontalFlip(),
                *([v2.ColorJitter(brightness=0.2, contrast=0.2)] if pictures.coloured else []),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                *([] if pictures.coloured else [v2.Lambda(three_channels)]),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pil[index]), self.labels[index]


def three_channels(image: Tensor) -> Tensor:
    """A grey picture [1, S, S] as [3, S, S]."""
    return image.expand(3, -1, -1)


def normalise(pixels: Tensor) -> Tensor:
    """Pixels of 0..255, float32 [n, C, S, S] with C 1 or 3, as the backbones want them: [n, 3, S, S]."""
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    return (pixels / 255 - mean) / std


def collate(batch: dict[str, Tensor] | Iterable[tuple[Tensor, int]]) -> dict[str, Tensor]:
    """A batch for the Classifier."""
    if isinstance(batch, dict):
        return batch
    pixels, labels = zip(*batch, strict=True)
    return {"pixel_values": torch.stack(pixels), "labels": torch.tensor(labels)}


def optimizer_of(classifier: Classifier, stage: dict[str, Any]) -> torch.optim.Optimizer:
    """Fused SGD with Nesterov momentum; biases and normalisation do not decay."""
    head = set(classifier.head.parameters())
    groups = []
    for parameter in classifier.parameters():
        if parameter.requires_grad:
            lr = stage["lr"] * (stage["head_lr_factor"] if parameter in head else 1)
            decay = stage["weight_decay"] if parameter.ndim > 1 else 0.0
            groups.append((lr, decay, parameter))
    kinds = sorted({(lr, decay) for lr, decay, _ in groups})
    return torch.optim.SGD(
        [
            {"params": [p for lr, decay, p in groups if (lr, decay) == kind], "lr": kind[0], "weight_decay": kind[1]}
            for kind in kinds
        ],
        momentum=stage["momentum"],
        nesterov=True,
        fused=True,
    )


def one_cycle(warmup: float, steps: int, step: int) -> float:
    """Up from a tenth over the warm-up, then down to 0 by a cosine."""
    warm = warmup * steps
    if step < warm:
        return 0.1 + 0.9 * step / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1.0)))


def arguments_of(stage: dict[str, Any], seed: int, workers: int, out: Path) -> TrainingArguments:
    """Trainer with everything switched off that would only take time."""
    return TrainingArguments(
        output_dir=str(out / "trainer"),
        max_steps=stage["images_seen"] // stage["batch_size"],
        per_device_train_batch_size=stage["batch_size"],
        per_device_eval_batch_size=256,
        max_grad_norm=0.0,
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0,
        dataloader_drop_last=True,
        dataloader_pin_memory=False,
        label_names=["labels"],
        use_cpu=True,
        seed=seed,
    )


class Bench:
    """The splits in memory, each brought to size once."""

    def __init__(self, folder: Path, images: str, workers: int) -> None:
        self._folder = folder
        self._images = images
        self._workers = workers
        self._kept: dict[tuple[str, str, int], Pictures] = {}
        self._augmented: dict[tuple[str, str, int], AugmentedPictures | AugmentedBatches] = {}

    def pictures(self, dataset: str, role: str, size: int) -> Pictures:
        """A split as it is."""
        key = (dataset, role, size)
        if key not in self._kept:
            with np.load(self._folder / f"{dataset}-{role}.npz") as file:
                self._kept[key] = Pictures(file["images"], file["labels"], size)
        return self._kept[key]

    def training(self, stage: dict[str, Any]) -> tuple[Dataset[Any], int]:
        """What a stage trains on, and by how many worker processes it is read."""
        key = (stage["dataset"], "train", stage["image_size"])
        if stage["augment"] == "none":
            return self.pictures(*key), 0
        if key not in self._augmented:
            kind = AugmentedPictures if self._images == "per-image" else AugmentedBatches
            self._augmented[key] = kind(self.pictures(*key))
        return self._augmented[key], self._workers


def train_stage(
    classifier: Classifier, stage: dict[str, Any], seed: int, bench: Bench, out: Path
) -> tuple[Trainer, dict[str, Any]]:
    """Train one stage; what it took, as a line of stages.csv."""
    began = time.perf_counter()
    before = classifier.images_trained
    dataset, workers = bench.training(stage)
    classifier.prepare(stage["trainable"] == "head", stage["label_smoothing"])
    optimizer = optimizer_of(classifier, stage)
    arguments = arguments_of(stage, seed, workers, out)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(one_cycle, stage["warmup"], arguments.max_steps))
    trainer = Trainer(classifier, arguments, collate, train_dataset=dataset, optimizers=(optimizer, schedule))
    trainer.train()
    return trainer, {
        "fingerprint": stage["fingerprint"],
        "dataset": stage["dataset"],
        "trainable": stage["trainable"],
        "images_seen": classifier.images_trained - before,
        "seconds": time.perf_counter() - began,
    }


def run_cell(cell: dict[str, Any], bench: Bench, out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train a cell from its start and predict the report split; its lines of results.csv and stages.csv."""
    began = time.perf_counter()
    set_seed(cell["seed"])
    build, head = BACKBONES[cell["backbone"]]
    classifier = Classifier(build(num_classes=CLASSES), head)
    name = {"backbone": cell["backbone"], "strategy": cell["strategy"], "seed": cell["seed"]}
    lines = []
    for stage in cell["stages"]:
        trainer, line = train_stage(classifier, stage, cell["seed"], bench, out)
        lines.append({**name, **line})
    report = bench.pictures(cell["target"], "report", cell["stages"][-1]["image_size"])
    trainer.args.dataloader_drop_last = False  # meant for training; left on, it drops samples of the report split too
    predicted = trainer.predict(report)
    logits = np.asarray(predicted.predictions, dtype=np.float32)
    file = "-".join(str(value).replace("/", "_") for value in name.values())
    np.save(out / "predictions" / f"{file}.npy", logits)
    return {
        **name,
        "images_seen": classifier.images_trained,
        "seconds": time.perf_counter() - began,
        "n": len(report),
        "accuracy": float((logits.argmax(axis=1) == report.labels.numpy()).mean()),
    }, lines


def write_csv(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Lines under their fields' names."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def usable_cores() -> int:
    """Cores that this process may use, which in a container are often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Every cell of the plan, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", choices=["per-image", "batched"], required=True)
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes that augment")
    parser.add_argument("--trial", action="store_true", help="the first stage of the first cell only")
    given = parser.parse_args()
    (given.out / "predictions").mkdir(parents=True, exist_ok=True)
    bench = Bench(given.data, given.images, given.workers)
    results, stages = [], []
    cells = json.loads(given.plan.read_text())["cells"]
    if given.trial:
        cells = [{**cells[0], "stages": cells[0]["stages"][:1]}]
    for cell in cells:
        result, lines = run_cell(cell, bench, given.out)
        results.append(result)
        stages.extend(lines)
        print(*result.values(), flush=True)
    write_csv(given.out / "results.csv", results)
    write_csv(given.out / "stages.csv", stages)


if __name__ == "__main__":
    main()
