"""How long ``adcli datasets check`` takes for 1,000 images of 512 x 512, and whether it finds what is planted in them.

Usage: ``python benchmarks/inspection.py [--images 1000] [--size 512] [--workers 4] [--formats .png .jpg]``

The images are photographic in what costs time: smooth, with a sensor's noise, which PNG compresses badly. Timed is the
command in a process of its own, start included; the files were written just before. Planted are a test image with the
pixels of one to train on, of which the bytes differ, a mask that marks nothing, and an image that breaks off.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

PLANTED = {"duplicate", "empty mask", "unreadable"}
JPEG_START, COMMENT = b"\xff\xd8", b"\xff\xfe\x00\x07again"
SAVING = {".png": {"compress_level": 1}, ".jpg": {"quality": 92}}
NOISE = 4.0
"""Standard deviation of the sensor's noise in grey levels."""


def photograph(number: int, size: int) -> Image.Image:
    """Draw a smooth picture with noise; each number is another one."""
    random = np.random.default_rng(number)
    coarse = random.uniform(20, 235, (8, 8, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC), np.float32)
    noise = NOISE * random.standard_normal((size, size, 3), dtype=np.float32)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def write_data(root: Path, images: int, size: int, suffix: str) -> None:
    """Write a data set: seven in ten to train on, the others half good and half defective, with masks."""
    train, good = round(0.7 * images), round(0.15 * images)
    folders = ["train/good"] * train + ["test/good"] * good + ["test/scratch"] * (images - train - good)
    for folder in {*folders, "ground_truth/scratch"}:
        (root / folder).mkdir(parents=True)

    def write(number: int) -> None:
        photograph(number, size).save(root / folders[number] / f"{number:04}{suffix}", **SAVING[suffix])
        if folders[number] == "test/scratch":
            mask = Image.new("L", (size, size))
            mask.paste(255, (size // 4, size // 4, size // 2, size // 3))
            mask.save(root / f"ground_truth/scratch/{number:04}_mask.png")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(images)))
    plant(root, size, suffix)


def plant(root: Path, size: int, suffix: str) -> None:
    """Plant a duplicate, an empty mask and a damaged image."""
    first, *_, last = sorted((root / "train/good").iterdir())
    twin = sorted((root / "test/good").iterdir())[3]
    if suffix == ".jpg":
        # A comment changes the bytes and not the pixels, as saving anew would.
        twin.write_bytes(JPEG_START + COMMENT + first.read_bytes().removeprefix(JPEG_START))
    else:
        Image.open(first).save(twin, compress_level=6)
    Image.new("L", (size, size)).save(sorted((root / "ground_truth/scratch").iterdir())[5])
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])


def check(root: Path, workers: int) -> tuple[float, set[str]]:
    """Return the seconds that the command takes, and the kinds of what it finds."""
    command = [sys.executable, "-m", "adcli", "datasets", "check", str(root), "--workers", str(workers), "--json"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    return time.perf_counter() - start, {finding["kind"] for finding in json.loads(done.stdout)["findings"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--formats", nargs="+", choices=list(SAVING), default=list(SAVING))
    arguments = parser.parse_args()
    for suffix in arguments.formats:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "data"
            write_data(root, arguments.images, arguments.size, suffix)
            total = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
            seconds, found = check(root, arguments.workers)
            what = "found all that is planted" if found == PLANTED else f"found {sorted(found)}"
            print(f"{suffix} {arguments.images} images, {total >> 20} MB: {seconds:.1f} s, {what}", flush=True)


if __name__ == "__main__":
    main()
