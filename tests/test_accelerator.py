"""What torch is set to before anything is computed."""

from __future__ import annotations

import pytest
import torch

from ferbench.accelerator import prepare_device


def test_cuda_searches_for_algorithms_unless_it_must_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    asked: list[bool] = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    prepare_device("cpu", deterministic=True)
    assert asked == []
    prepare_device("cuda:0")
    assert torch.backends.cudnn.benchmark and asked == [False]
    prepare_device("cuda:0", deterministic=True)
    assert not torch.backends.cudnn.benchmark and asked == [False, True]
