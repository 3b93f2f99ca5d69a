"""What the end-to-end tests share: a small data set, and commands in a process of their own."""

import atexit
import csv
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from forking import Server

SIZE = 64
THIRD_PARTY = Path(__file__).parent / "third_party"
"""A stranger's plugin, as it would lie in site-packages."""


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Adcli = Callable[..., Outcome]
"""The fixture ``adcli``: runs a command in this process."""


def own_models() -> list[str]:
    """Return the names of our own models: not what stands for those of other programs."""
    from adcli._plugins.registry import registry

    return sorted(name for name in registry().models if not name.startswith("anomalib"))


def assert_one_line(outcome: Outcome, code: int, *words: str) -> None:
    """Check that a command failed with one line that holds the words."""
    assert outcome.code == code, outcome
    errors = [line for line in outcome.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, outcome.err
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in errors[0]


def scored_rows(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's ``scores.csv``, without what differs from run to run: its name and the time."""
    with (run / "scores.csv").open(newline="") as file:
        return [
            {name: cell for name, cell in row.items() if name not in ("run", "time")} for row in csv.DictReader(file)
        ]


def draw_part(seed: int, *, defect: bool = False) -> tuple[Image.Image, Image.Image]:
    """Draw a textured plate with a bright disc, and a dark scratch if it is to be defective; also its mask."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    plate = 120 + 10 * np.sin(x / 3 + random.uniform(0, 6)) + random.normal(0, 4, (SIZE, SIZE))
    centre = random.uniform(28, 36, 2)
    plate[np.hypot(y - centre[0], x - centre[1]) < 14] += 70
    mask = np.zeros((SIZE, SIZE), bool)
    if defect:
        row, column = random.integers(12, 44, 2)
        mask[row : row + 5, column : column + 14] = True
        plate[mask] = 10
    pixels = np.repeat(plate.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    return Image.fromarray(pixels), Image.fromarray(mask.astype(np.uint8) * 255)


def write_parts(root: Path, train: int = 24, good: int = 6, defective: int = 6, seed: int = 0) -> Path:
    """Write a data set laid out as train/good, test/good, test/scratch and ground_truth/scratch."""
    counts = {"train/good": train, "test/good": good, "test/scratch": defective}
    for offset, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            part, mask = draw_part(seed + 1000 * offset + i, defect=folder == "test/scratch")
            part.save(root / folder / f"{i:03}.png")
            if folder == "test/scratch":
                (root / "ground_truth/scratch").mkdir(parents=True, exist_ok=True)
                mask.save(root / f"ground_truth/scratch/{i:03}_mask.png")
    return root


@cache
def server() -> "Server":
    """Return what forks commands for all tests of this process."""
    from forking import Server

    started = Server()
    atexit.register(started.close)
    return started


def adcli_command() -> Sequence[str]:
    """Return how ``adcli`` is started in a process of its own, which need not import torch if it can be forked."""
    if not hasattr(os, "pidfd_open"):
        return (sys.executable, "-m", "adcli")
    return (sys.executable, "-I", "-S", str(Path(__file__).with_name("relay.py")), server().address)


def start_adcli(*arguments: object, cwd: Path, **streams: Any) -> "subprocess.Popen[str]":
    """Start ``adcli`` in a process of its own, whose streams are pipes for text unless said otherwise."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **streams}
    return subprocess.Popen([*adcli_command(), *map(str, arguments)], cwd=cwd, **streams)


def in_own_process(*arguments: object, cwd: Path, stdin: str = "", timeout: float = 300, **streams: Any) -> Outcome:
    """Run ``adcli`` in a process of its own, as :func:`start_adcli` does."""
    with start_adcli(*arguments, cwd=cwd, stdin=subprocess.PIPE, **streams) as process:
        out, err = process.communicate(stdin, timeout=timeout)
    return Outcome(process.returncode, out, err)
