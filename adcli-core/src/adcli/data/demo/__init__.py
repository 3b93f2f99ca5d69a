"""The demo data: drawn on first use and kept in the user's cache."""

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from adcli._plugins.builtin import FolderOptions
from adcli.data import folder
from adcli.data.demo.drawing import DEFECTS, draw
from adcli.data.samples import Splits, count_labels
from adcli.errors import OptionError, StorageError
from adcli.options import Options

VERSION = 2
"""Raise this when the drawing changes; each version has its own folder in the cache."""

TRAIN, TEST_GOOD, PER_DEFECT = 100, 30, 12

_Task = tuple[str, int, str | None]
"""Folder and stem of an image, its seed, and its defect."""


def load(options: Options, category: str | None) -> Splits:
    """Return the demo data, drawing it first if it is not in the cache.

    Raises:
        StorageError: the cache cannot be written.
    """
    if category is not None:
        raise OptionError(f"the demo data has no categories, but '{category}' was given.")
    root = cache_folder() / f"demo-{VERSION}"
    if not root.is_dir():
        _draw_all(root)
    splits = folder.load(FolderOptions.parse({"root": root}), None)
    words = f"demo data in {root}: {len(splits.train)} good images to train on; test: {count_labels(splits.test)}"
    return Splits(splits.train, splits.test, splits.validation, words)


def cache_folder() -> Path:
    """Return the cache folder: ``ADCLI_CACHE``, else ``adcli`` in the system's cache folder."""
    if "ADCLI_CACHE" in os.environ:
        return Path(os.environ["ADCLI_CACHE"])
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "adcli"


def _draw_all(root: Path) -> None:
    """Draw the data set under a temporary name, and rename it once it is complete."""
    temporary = root.with_name(f".{root.name}-{uuid.uuid4().hex[:8]}")
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda task: _draw_one(temporary, *task), _list_tasks()))
        temporary.rename(root)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        # Another process may have drawn the same files in the meantime.
        if not root.is_dir():
            raise StorageError(
                f"cannot write {root}: {error.strerror or error}; set ADCLI_CACHE to a folder."
            ) from None


def _list_tasks() -> Iterator[_Task]:
    seed = 0
    for place, defect, count in (
        ("train/good", None, TRAIN),
        ("test/good", None, TEST_GOOD),
        *((f"test/{defect}", defect, PER_DEFECT) for defect in DEFECTS),
    ):
        for i in range(count):
            yield f"{place}/{i:03}", seed, defect
            seed += 1


def _draw_one(root: Path, place: str, seed: int, defect: str | None) -> None:
    pixels, mask = draw(seed, defect)
    _save(Image.fromarray(pixels), root / f"{place}.png")
    if defect is not None:
        _save(Image.fromarray(mask), root / f"{place.replace('test/', 'ground_truth/')}_mask.png")


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, compress_level=1)
