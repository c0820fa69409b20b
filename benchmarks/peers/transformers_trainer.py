"""transformers.Trainer on the work: no evaluation, logging, saving or clipping; ferbench's optimizer, fused."""

from __future__ import annotations

import tempfile
import warnings

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from peers.faces import PilFaces, TensorFaces
from peers.work import Run, Work


class _WithLoss(nn.Module):
    """What Trainer asks of a module: keyword arguments in, loss and logits out."""

    def __init__(self, work: Work, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.module = work.module(memory_format)
        self._work = work
        self._memory_format = memory_format

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.module(images.contiguous(memory_format=self._memory_format))
        return {"loss": self._work.loss(logits, labels), "logits": logits}


def _named(batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    return {"images": batch[0], "labels": batch[1]}


def _collated(samples: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    images, labels = default_collate(samples)
    return {"images": images, "labels": labels}


def trainer_loop(
    work: Work, *, pil: bool, workers: int = 0, memory_format: torch.memory_format = torch.channels_last
) -> Run:
    """A Trainer a run, on tensors in memory or on PIL images with v2 transforms."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    faces = PilFaces(work) if pil else TensorFaces(work)
    copied = pil and work.device != "cpu"

    def run(steps: int) -> None:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = _WithLoss(work, memory_format)
            recipe = work.recipe(steps)
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=1 + steps,
                per_device_train_batch_size=work.batch_size,
                learning_rate=recipe.lr,
                max_grad_norm=0.0,
                dataloader_num_workers=workers,
                dataloader_persistent_workers=workers > 0,
                dataloader_pin_memory=copied,
                accelerator_config={"non_blocking": copied},
                remove_unused_columns=False,
                use_cpu=work.device == "cpu",
                bf16=work.precision == "bf16",
                report_to="none",
                eval_strategy="no",
                save_strategy="no",
                logging_strategy="no",
                logging_nan_inf_filter=False,
                disable_tqdm=True,
            )
            trainer = Trainer(
                model=module,
                args=arguments,
                train_dataset=faces,
                data_collator=_collated if pil else _named,
                optimizers=(work.optimizer(module), None),
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()

    return run
