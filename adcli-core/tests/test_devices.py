"""Seeds and flags: a fit sets them, and leaves the caller's as they were."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from adcli.nn.devices import exact_float32, float64_device, repeatable, to_float64


@pytest.fixture(autouse=True)
def _flags() -> Iterator[None]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    yield
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


def flags() -> tuple[bool, ...]:
    """Return torch's flags that decide how exact and how repeatable a GPU computes."""
    cudnn = torch.backends.cudnn
    return cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def draws() -> tuple[float, float, float]:
    """Draw from each generator."""
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_what_is_repeatable_draws_the_same_again() -> None:
    with repeatable(3):
        first = draws()
    with repeatable(3):
        assert draws() == first
    with repeatable(4):
        assert all(one != other for one, other in zip(draws(), first, strict=True))


def test_the_callers_generators_go_on_as_if_nothing_had_been() -> None:
    for generator_seed in (random.seed, np.random.seed, torch.manual_seed):
        generator_seed(11)
    expected = draws(), draws()
    for generator_seed in (random.seed, np.random.seed, torch.manual_seed):
        generator_seed(11)
    first = draws()

    def fail() -> None:
        with repeatable(3):
            draws()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (first, draws()) == expected


@pytest.mark.parametrize("context", [exact_float32, lambda: repeatable(0)])
def test_flags_are_exact_within_and_the_callers_afterwards(context: object) -> None:
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    with context():  # type: ignore[operator]
        assert flags() == (True, False, False, False)
    assert flags() == (False, True, True, True)


def test_flags_set_by_torchs_newer_names_are_restored_too() -> None:
    cudnn: Any = torch.backends.cudnn
    matmul = torch.backends.cuda.matmul
    before = cudnn.conv.fp32_precision, matmul.fp32_precision
    try:
        cudnn.conv.fp32_precision, matmul.fp32_precision = "ieee", "tf32"
        with exact_float32():
            assert (cudnn.conv.fp32_precision, matmul.fp32_precision) == ("ieee", "ieee")
        assert (cudnn.conv.fp32_precision, matmul.fp32_precision) == ("ieee", "tf32")
    finally:
        cudnn.conv.fp32_precision, matmul.fp32_precision = before


def test_float64_is_computed_on_the_cpu_if_the_device_has_none() -> None:
    assert float64_device(torch.device("mps")) == torch.device("cpu")
    assert float64_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert to_float64(torch.ones(2)).dtype == torch.float64
