"""The demo data: drawn on first use and kept in the user's cache."""

import io
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from adcli._changes import enter
from adcli._files import cache_folder, remove_tree
from adcli._locking import Lock
from adcli._plugins.builtin import FolderOptions
from adcli.data import folder
from adcli.data.ahead import load_all
from adcli.data.demo.drawing import DEFECTS, draw
from adcli.data.demo.large import LARGE_DEFECTS, draw_large
from adcli.data.samples import Splits, count_labels
from adcli.errors import OptionError, StorageError
from adcli.options import Options

_WAIT_SECONDS = 600.0
"""How long to wait for another process that draws, which takes seconds, or a minute on a busy machine."""


@dataclass(frozen=True)
class Series:
    """What is drawn.

    Attributes:
        folder: in the cache; it ends with a version, to be raised when the drawing changes.
        train: number of good images to train on.
        good: number of good images to test on.
        per_defect: number of images of each defect.
        defects: names of kinds.
        draw: returns pixels and mask for a seed and a defect.
        suffix: of the images' files; masks are PNG.
        most_threads: that draw, each of which takes memory for what it draws.
    """

    folder: str
    train: int
    good: int
    per_defect: int
    defects: Sequence[str]
    draw: Callable[[int, str | None], tuple[NDArray[Any], NDArray[Any]]]
    suffix: str = ".png"
    most_threads: int = 64


SERIES = {
    None: Series("demo-2", 100, 30, 12, tuple(DEFECTS), draw),
    "large": Series("demo-large-1", 40, 20, 6, tuple(LARGE_DEFECTS), draw_large, ".jpg", 4),
}
"""By category."""

_Task = tuple[str, int, str | None]
"""Folder and stem of an image, its seed, and its defect."""


def load(options: Options, category: str | None) -> Splits:
    """Return the demo data, drawing it first if it is not in the cache.

    Raises:
        OptionError: there is no such category.
        StorageError: the cache cannot be written.
    """
    if category not in SERIES:
        raise OptionError(f"the demo data has no category '{category}'; there are 'demo' and 'demo:large'.")
    series = SERIES[category]
    root = cache_folder() / series.folder
    if not root.is_dir():
        _draw_all(root, series)
    splits = folder.load(FolderOptions.parse({"root": root}), None)
    words = f"demo data in {root}: {len(splits.train)} good images to train on; test: {count_labels(splits.test)}"
    return Splits(splits.train, splits.test, splits.validation, words)


def _draw_all(root: Path, series: Series) -> None:
    """Draw the data set, unless another process does, for which this one waits; what killed ones left is removed."""
    lock = Lock(root.with_name(f".{root.name}.lock"), root)
    try:
        enter(lock, _WAIT_SECONDS)
    except StorageError as error:
        raise StorageError(f"{error.message.rstrip('.')}; or set ADCLI_CACHE to a folder.") from None
    try:
        for path in root.parent.glob(f".{root.name}-????????"):
            remove_tree(path)
        if not root.is_dir():
            _draw_complete(root, series)
    finally:
        lock.release()


def _draw_complete(root: Path, series: Series) -> None:
    """Draw the data set under a temporary name, and rename it once it is complete."""
    temporary = root.with_name(f".{root.name}-{uuid.uuid4().hex[:8]}")
    try:
        # Threads draw and this one writes, so that nothing is written any more once it has stopped.
        threads = min(os.cpu_count() or 1, series.most_threads)
        for files in load_all(_list_tasks(series), lambda task: _draw_one(series, *task), threads):
            for name, content in files.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_bytes(content)
        temporary.rename(root)
    except OSError as error:
        raise StorageError(f"cannot write {root}: {error.strerror or error}; set ADCLI_CACHE to a folder.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _list_tasks(series: Series) -> Iterator[_Task]:
    seed = 0
    for place, defect, count in (
        ("train/good", None, series.train),
        ("test/good", None, series.good),
        *((f"test/{defect}", defect, series.per_defect) for defect in series.defects),
    ):
        for i in range(count):
            yield f"{place}/{i:03}", seed, defect
            seed += 1


def _draw_one(series: Series, place: str, seed: int, defect: str | None) -> dict[str, bytes]:
    """Return an image's file, and that of its mask if it has a defect, by their names."""
    pixels, mask = series.draw(seed, defect)
    files = {f"{place}{series.suffix}": _png(pixels) if series.suffix == ".png" else _jpeg(pixels)}
    if defect is not None:
        files[f"{place.replace('test/', 'ground_truth/')}_mask.png"] = _png(mask)
    return files


def _jpeg(pixels: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=92)
    return content.getvalue()


def _png(pixels: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=1)
    return content.getvalue()
