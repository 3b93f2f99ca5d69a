"""Called from Python, training leaves the caller's process as it was."""

import random
from pathlib import Path

import numpy as np
import torch
from support import write_parts

from adcli import pipeline


def test_random_numbers_and_flags_of_torch_are_as_before_training(tmp_path: Path) -> None:
    data = write_parts(tmp_path / "parts")
    settings = pipeline.TrainSettings(
        model="padim", data=str(data), image_size="32", options={"backbone": "random:resnet18", "layers": "1"}
    )
    flags = (torch.backends.cudnn, "allow_tf32"), (torch.backends.cudnn, "benchmark")
    before = [getattr(module, name) for module, name in flags]
    try:
        for module, name in flags:
            setattr(module, name, True)
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(7)  # type: ignore[operator]
        expected = random.random(), np.random.random(), torch.rand(1).item()
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(7)  # type: ignore[operator]
        pipeline.train(settings, out=tmp_path / "run")
        assert (random.random(), np.random.random(), torch.rand(1).item()) == expected
        assert [getattr(module, name) for module, name in flags] == [True, True]
    finally:
        for (module, name), value in zip(flags, before, strict=True):
            setattr(module, name, value)
