"""Make the runs and exports that every later version must open with equal verdicts.

    python tests/make_fixtures.py NAME [RUN...]

writes ``tests/fixtures/NAME``: small runs and exports of this build, what it says of master images, and a table of
verdicts; or only some of the runs. Do that when the version of a format rises, with a new NAME, and commit the folder;
and when a run can have what none had before, with that RUN. What is there stays as long as the formats in it are read;
``tests/test_formats.py`` opens all of it.

The master images are not kept: they are drawn with whole numbers and stored without compression, so that every machine
and every version of every library gets the same bytes.
"""

import shutil
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FIXTURES = Path(__file__).parent / "fixtures"
MASTERS = {"good-1": (906, False), "good-2": (911, False), "scratch-1": (905, True), "scratch-2": (907, True)}
"""Seeds of the master images by name, and whether they have a defect."""

SIDE = 64
BACKBONE = ("--backbone", "random:test_efficientnet")

SMALL = ("-o", "latent=4", "-o", "features=2", "-o", "epochs=20", "--image-size", "32")

RUNS: dict[str, tuple[str, ...]] = {
    "padim": ("-m", "padim", *BACKBONE, "-o", "layers=1", "-o", "dimensions=4", "--image-size", "32"),
    "zones": (
        *("-m", "dfm", *BACKBONE, "-o", "layers=1", "-o", "score=peak", "--image-size", "32", "--tiles", "2x1"),
        *("--region", "upper=0,0,64,32", "--region", "lower=0,32,64,32"),
    ),
    "folds": (
        "-m",
        "dfkde",
        *BACKBONE,
        "-o",
        "layers=1",
        "--image-size",
        "48",
        "--crop",
        "48",
        "--calibration",
        "5-fold",
    ),
    "ganomaly": ("-m", "ganomaly", *SMALL),
    "confidence": ("-m", "ganomaly", *SMALL, "--confidence", "0.8", "--false-alarm-rate", "0.3"),
    "parts": ("-m", "ganomaly", *SMALL, "--part", r"(\w+/\w+/\d\d)-\d", "--views", "3"),
    "updatable": (
        *("-m", "padim", *BACKBONE, "-o", "layers=1", "-o", "dimensions=4", "--image-size", "32"),
        "--updatable",
    ),
}
"""Options of ``adcli train``."""

EXPORTS = {
    "padim-openvino": ("padim", "--to", "openvino"),
    "zones-onnx": ("zones", "--to", "onnx"),
}
"""A run, and options of ``adcli export``."""

REMOVED = ("**/report.html", "**/*.jpg", "log.txt")
"""What is large, and needed by nothing."""


def draw(seed: int, *, defect: bool) -> NDArray[np.uint8]:
    """Draw a plate (H, W, 3) with a bright square, and a dark scratch if it is to be defective; of whole numbers."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.uint32)
    noise = x * np.uint32(374761393) + y * np.uint32(668265263) + np.uint32(seed * 40503 & 0xFFFFFFFF)
    noise = (noise ^ (noise >> np.uint32(13))) * np.uint32(1274126177)
    plate = 110 + ((noise ^ (noise >> np.uint32(16))) % np.uint32(13)).astype(np.int64) + (x // 4 % 2) * 6
    shift = seed % 5
    plate[16 + shift : 44 + shift, 18 : 46 - shift] += 70
    if defect:
        plate[20 + shift : 26 + shift, 14:50] = 10
    return np.repeat(plate.astype(np.uint8)[:, :, None], 3, axis=2)


def write_ppm(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an image without compression."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, _ = pixels.shape
    path.write_bytes(f"P6 {width} {height} 255\n".encode() + pixels.tobytes())


def write_masters(folder: Path) -> Path:
    """Write the master images into a folder."""
    for name, (seed, defect) in MASTERS.items():
        write_ppm(folder / f"{name}.ppm", draw(seed, defect=defect))
    return folder


def write_parts(folder: Path) -> Path:
    """Write images to train on, and to test: three of each part."""
    for kind, count in (("train/good", 30), ("test/good", 6), ("test/scratch", 6)):
        for i in range(count):
            seed = i + 100 * (kind != "train/good") + 100 * (kind == "test/scratch")
            write_ppm(folder / kind / f"{i // 3:02}-{i % 3}.ppm", draw(seed, defect=kind == "test/scratch"))
    for i in range(9):
        write_ppm(folder.with_name("more") / f"{i:02}.ppm", draw(400 + i, defect=False))
    return folder


def adcli(*arguments: object) -> None:
    """Run a command in this process."""
    from adcli.cli import main

    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        if ended.code:
            raise


def make(target: Path, work: Path, runs: Collection[str]) -> None:
    """Write runs, their exports, and what they say."""
    parts, masters = write_parts(work / "parts"), write_masters(work / "masters")
    for name in runs:
        adcli("train", *RUNS[name], "--data", parts, "--out", target / "runs" / name)
    if "ganomaly" in runs:
        adcli("calibrate", target / "runs/ganomaly", "--data", parts / "test/good")
    if "updatable" in runs:
        adcli("update", target / "runs/updatable", "--data", parts.with_name("more"), "--out", target / "runs/updated")
    if "confidence" in runs:
        adcli("calibrate", target / "runs/confidence", "--audit", parts / "test")
    for name, (run, *options) in EXPORTS.items():
        if run in runs:
            adcli("export", target / "runs" / run, *options, "--out", target / "exports" / name)
    made = sorted([*target.glob("runs/*"), *target.glob("exports/*")])
    adcli("verify", *made, "--data", masters, "--record")
    (masters / "damaged.ppm").write_bytes(b"P6 64 64 255\n")
    adcli("predict", made[-1], masters, "--out", target / "table", "--skip-unreadable")
    (target / "masters").mkdir()
    for path in masters.glob("*.masters.json"):
        shutil.copy(path, target / "masters")
    for pattern in REMOVED:
        for folder in made:
            for path in folder.glob(pattern):
                path.unlink()


if __name__ == "__main__":
    target = FIXTURES / sys.argv[1]
    if target.exists():
        sys.exit(f"{target}: exists; choose another name, since what was made stays")
    # A place that every machine has, as runs note where their data lay.
    work = Path(tempfile.gettempdir()) / "adcli-fixtures"
    shutil.rmtree(work, ignore_errors=True)
    make(target, work, sys.argv[2:] or RUNS)
    shutil.rmtree(work)
