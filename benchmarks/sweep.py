"""Time a sweep of short runs beside the same runs one after the other.

    python benchmarks/sweep.py [--images 60] [--image-size 64] [--rounds 3]

It draws images, and trains PaDiM and DFM with six seeds each: as commands one after the other, as a sweep that makes
one run at a time with all cores, and as a sweep. Of the sweeps' runs it prints what a run takes beyond fitting.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from adcli.sweeps.folder import read_results

MODELS, SEEDS = ("padim", "dfm"), range(6)


def write_images(folder: Path, count: int) -> None:
    """Draw plates with a disc: good ones to train on, and ten of each kind to test on."""
    random = np.random.default_rng(0)
    for name, number in (("train/good", count), ("test/good", 10), ("test/dark", 10)):
        (folder / name).mkdir(parents=True)
        for i in range(number):
            plate = random.normal(120, 6, (256, 256))
            y, x = np.mgrid[:256, :256]
            plate[np.hypot(y - 128 - random.normal(0, 3), x - 128) < 60] += 70
            if name == "test/dark":
                row, column = random.integers(60, 180, 2)
                plate[row : row + 12, column : column + 30] = 20
            Image.fromarray(plate.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i:03}.png")


def take(*words: object) -> float:
    """Run a command, and return the seconds that it took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "adcli", *map(str, words)], check=True, capture_output=True)
    return time.perf_counter() - start


def time_in_turn(common: Sequence[object], folder: Path) -> float:
    """Return the seconds of the runs as commands, one after the other."""
    return sum(
        take("train", "-m", model, "--seed", seed, *common, "--out", folder / f"{model}-{seed}")
        for model in MODELS
        for seed in SEEDS
    )


def time_sweep(common: Sequence[object], folder: Path, *more: object) -> tuple[float, float]:
    """Return the seconds of a sweep, and those that its median run took beyond fitting."""
    start = time.time()
    seconds = take("sweep", "-m", ",".join(MODELS), "--seed", "0..5", *common, "--out", folder, *more)
    made = read_results(folder).made
    # Of one worker after another: from the end of a run to the end of the next.
    workers = 1 if "1" in map(str, more) else 2
    ends = sorted((outcome.path / "run.yaml").stat().st_mtime for outcome in made if outcome.path)
    busy = (ends[-1] - ends[0]) * workers / (len(ends) - workers) if len(ends) > workers else ends[-1] - start
    fits = statistics.mean(outcome.seconds["fit"] for outcome in made)
    return seconds, busy - fits


def main() -> None:
    """Measure, and print a line for each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        write_images(data, arguments.images)
        common = ("--data", data, "--backbone", "embedded", "--image-size", arguments.image_size)
        for _ in range(arguments.rounds):
            in_turn = time_in_turn(common, Path(place) / "turn")
            single, beyond_single = time_sweep(common, Path(place) / "single", "--jobs", 1)
            both, beyond = time_sweep(common, Path(place) / "both")
            print(
                f"in turn {in_turn:.1f} s, sweep of one at a time {single:.1f} s, sweep {both:.1f} s: "
                f"{in_turn / both:.2f} and {single / both:.2f} times as fast; beyond fitting {beyond_single:.2f} s a "
                f"run one at a time, {beyond:.2f} s two at a time",
                flush=True,
            )
            for name in ("turn", "single", "both"):
                shutil.rmtree(Path(place) / name)


if __name__ == "__main__":
    main()
