"""Sums, rows, decisions and gradients of two processes are those of one."""

import subprocess
import sys

import joined_processes
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from adcli.testing.processes import environments

Found = dict[str, Tensor]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Found, Found]:
    """What one process ends with, and each of two; eleven images, so that the last step leaves one of them without."""
    folder = tmp_path_factory.mktemp("processes")
    random = np.random.default_rng(0)
    for i in range(11):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
    command = [sys.executable, joined_processes.__file__, str(folder), str(folder)]
    started = [subprocess.Popen(command, env=environment) for environment in environments(2)]
    assert [process.wait(timeout=240) for process in started] == [0, 0]
    alone = joined_processes.found(sorted(folder.glob("*.png")), 10)
    return alone, load_file(folder / "0.safetensors"), load_file(folder / "1.safetensors")


def test_both_processes_end_alike_to_the_bit(both: tuple[Found, Found, Found]) -> None:
    _, first, second = both
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_sums_rows_and_decisions_are_joined(both: tuple[Found, Found, Found]) -> None:
    _, first, _ = both
    assert torch.equal(first["sum"], torch.full((2, 3), 3.0))
    assert torch.equal(first["turned"], 2 * torch.arange(6.0).reshape(2, 3).T)
    assert first["gathered"].tolist() == [[0, 0], [1, 1], [1, 1]]
    assert first["broadcast"].item() == 7
    assert first["on_first"].item() == 0


@pytest.mark.parametrize("what", ["directions", "randomised", "trained", "settled"])
def test_two_processes_find_what_one_does(both: tuple[Found, Found, Found], what: str) -> None:
    alone, first, _ = both
    names = [name for name in alone if name.startswith(what) and not name.endswith("num_batches_tracked")]
    assert names
    for name in names:
        torch.testing.assert_close(
            first[name], alone[name], rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
        )
