"""Devices, precisions and seeds: what fits and scores are computed on, how exactly, and how they can be repeated.

GPUs are also treated apart in ``batches`` (copies of the next batch), ``runtime`` (scoring), ``_cuda_graphs`` and
``_kernels``.
"""

import contextlib
import os
import random
import shutil
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adcli.errors import OptionError, one_line
from adcli.nn import distributed

NO_FLOAT64 = {"mps"}
"""Types of devices that have no float64."""


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
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "meta":
        # Which computes nothing.
        raise OptionError(f"--device {one_line(name)}: is no device; give auto, cpu, cuda, cuda:N or mps.") from None
    try:
        torch.empty(1, device=device)
    # Of devices that it was built without, torch says so by whatever is raised when they are looked for.
    except Exception as error:
        raise OptionError(f"--device {name}: not available here ({one_line(error)[:120]}).") from None
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


def float64_device(device: torch.device) -> torch.device:
    """Return where to compute in float64 what lies on a device: there, or on the CPU if it has no float64 (MPS)."""
    return torch.device("cpu") if device.type in NO_FLOAT64 else device


def to_float64(tensor: Tensor, memory_format: torch.memory_format = torch.preserve_format) -> Tensor:
    """Return a tensor in float64, moved to the CPU if its device has no float64."""
    # Moved first: the device could not convert it.
    return tensor.to(float64_device(tensor.device)).to(torch.float64, memory_format=memory_format)


def memory_share(device: torch.device, share: float, otherwise: int) -> int:
    """Return a share of a GPU's whole memory in bytes, the same whatever else is there; else ``otherwise``."""
    if device.type != "cuda":
        return otherwise
    return int(torch.cuda.get_device_properties(device).total_memory * share)


def can_compile_kernels(device: torch.device) -> bool:
    """Tell whether kernels in Triton can be compiled for a device: a GPU, NVIDIA's from Ampere on.

    Not while a model is traced for an export, whose graph has torch's operations only.
    """
    if device.type != "cuda" or torch.compiler.is_compiling() or not _has_compiler():
        return False
    return torch.version.cuda is None or torch.cuda.get_device_capability(device) >= (8, 0)


@cache
def _has_compiler() -> bool:
    """Tell whether Triton is there, which comes with torch on Linux, and the C compiler and header that it needs."""
    compilers = os.environ.get("CC", ""), "cc", "gcc", "clang"
    header = Path(sysconfig.get_path("include", "posix_prefix"), "Python.h")
    return find_spec("triton") is not None and any(map(shutil.which, filter(None, compilers))) and header.is_file()


def make_repeatable(seed: int) -> None:
    """Seed every generator a model may draw from, and keep GPUs to exact float32 and repeatable algorithms."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    for module, name, value in _exact_flags():
        setattr(module, name, value)


@contextlib.contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Make what is done in the context repeatable, then restore the caller's generators and flags."""
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    python, arrays, mps = random.getstate(), np.random.get_state(), torch.backends.mps.is_available()
    metal = torch.mps.get_rng_state() if mps else torch.empty(0)
    with exact_float32(), torch.random.fork_rng(cuda):
        make_repeatable(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)
            if mps:
                torch.mps.set_rng_state(metal)


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Keep GPUs to exact float32 and repeatable algorithms in the context, then restore the caller's flags."""
    with contextlib.ExitStack() as stack:
        for module, name, value in _exact_flags():
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield


def _exact_flags() -> list[tuple[Any, str, Any]]:
    """Return torch's flags as module, name and the value that makes results exact and repeatable."""
    cudnn: Any = torch.backends.cudnn
    matmul = torch.backends.cuda.matmul
    flags: list[tuple[Any, str, Any]] = [(cudnn, "deterministic", True), (cudnn, "benchmark", False)]
    try:
        _ = cudnn.allow_tf32, matmul.allow_tf32
    except RuntimeError:
        # The caller has set precisions by torch's newer names, which do not mix with the older ones.
        return [*flags, *((module, "fp32_precision", "ieee") for module in (cudnn.conv, cudnn.rnn, matmul))]
    return [*flags, (cudnn, "allow_tf32", False), (matmul, "allow_tf32", False)]
