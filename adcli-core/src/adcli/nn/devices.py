"""Devices, precisions and seeds: what a fit computes on, in what, and how it can be repeated."""

import random

import numpy as np
import torch

from adcli.errors import OptionError, one_line
from adcli.nn import distributed


def pick_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` is the first CUDA GPU, else the CPU.

    Of several processes on a machine, each has a GPU of its own: for ``auto`` and ``cuda``, that of its number there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if distributed.world_size() == 1:
            return torch.device(name)
    if distributed.world_size() > 1 and name.startswith("cuda"):
        return _own_gpu(name)
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"--device {name}: not available here ({one_line(str(error))}).") from None
    return device


def _own_gpu(name: str) -> torch.device:
    if name != "cuda":
        raise OptionError(f"--device {name}: each process needs a GPU of its own; use auto or cuda.")
    number, available = distributed.local_rank(), torch.cuda.device_count()
    if number >= available:
        raise OptionError(
            f"--device cuda: more processes than GPUs ({available}) on a machine; start as many, or use --device cpu."
        )
    return torch.device("cuda", number)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type to fit in; ``auto`` is float32, as no step has been shown to lose nothing by less."""
    if name == "fp16" and device.type != "cuda":
        raise OptionError(f"--precision fp16: needs a CUDA device, not {device.type}; use bf16 or fp32.")
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name, torch.float32)


def make_repeatable(seed: int) -> None:
    """Seed every generator a model may draw from, and keep GPUs to exact float32 and repeatable algorithms."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
