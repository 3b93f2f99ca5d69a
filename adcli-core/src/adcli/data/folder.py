"""Folders of images as data sets."""

import glob
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from adcli.builtin import FolderOptions
from adcli.data.samples import IMAGE_SUFFIXES, Sample, Splits, count_labels
from adcli.errors import DataError, OptionError

GOOD_NAMES = frozenset({"good", "ok", "normal"})
MASK_FOLDERS = ("ground_truth", "masks")
TEST_SHARE = 0.2
_LAYOUTS = (
    "expected train/good with test/<good or defect>, or folders 'good' and one for each kind of defect, "
    "or a folder of good images"
)


def load(options: FolderOptions, category: str | None) -> Splits:
    """Read a folder laid out in one of three ways.

    - ``train/good``, ``test/good``, ``test/<defect>``, with masks in ``ground_truth/<defect>/<stem>_mask.png``, and
      optionally ``validation`` laid out like ``test``;
    - ``good`` and ``<defect>`` folders side by side: all defects and a share of the good images, chosen by their names,
      are for testing;
    - nothing but images: all are taken as good.

    Raises:
        DataError: the folder is missing, or has no good images.
    """
    if options.root is None:
        raise OptionError("data set 'folder' needs a folder: --data FOLDER.")
    if category is not None:
        raise OptionError(f"data set 'folder' has no categories such as '{category}': give the category's own folder.")
    root = options.root
    if not root.is_dir():
        raise DataError(f"{root}: {'is a file, not a folder' if root.exists() else 'no such folder'}.")
    if (root / "train").is_dir():
        return _described(_read_split(root), root, "train and test folders")
    if _good_folder(root) is not None:
        return _described(_read_classes(root), root, f"good and defect folders, {TEST_SHARE:.0%} of good for testing")
    return _described(_read_images(root), root, "a folder of images, all taken as good")


def _described(splits: Splits, root: Path, layout: str) -> Splits:
    if not splits.train:
        raise DataError(f"{root}: no good images to train on; {_LAYOUTS}.")
    words = f"{root}: {layout}; {len(splits.train)} good images to train on; test: {count_labels(splits.test)}"
    defects = [sample for sample in splits.test if sample.label == "defect"]
    if defects and not any(sample.mask for sample in defects):
        words += "; no masks found, so defects are not located in the metrics"
    return Splits(splits.train, splits.test, splits.validation, words)


def _read_split(root: Path) -> Splits:
    folder = _good_folder(root / "train") or root / "train"
    if folder == root / "train" and _folders(folder):
        raise DataError(f"{folder}: has folders but no 'good' one; training needs train/good.")
    train = [Sample(path, "good") for path in find_images(folder)]
    test = labelled_images(root / "test") if (root / "test").is_dir() else []
    validation = labelled_images(root / "validation") if (root / "validation").is_dir() else []
    return Splits(train, test, validation)


def _read_classes(root: Path) -> Splits:
    samples = labelled_images(root)
    good = [sample for sample in samples if sample.label == "good"]
    defects = [sample for sample in samples if sample.label == "defect"]
    if not defects:
        return Splits(good)
    held_out = {sample for sample in good if _share_of_name(sample.image.name) < TEST_SHARE}
    train = [sample for sample in good if sample not in held_out]
    return Splits(train, [*(sample for sample in good if sample in held_out), *defects])


def _share_of_name(name: str) -> float:
    """Return a number in [0, 1) drawn from a file's name, so that adding images moves none between the splits."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


def _read_images(root: Path) -> Splits:
    own = [path for path in sorted(root.iterdir()) if _is_image(path)]
    folders = _folders(root)
    if not own and folders:
        named = ", ".join(folder.name for folder in folders[:5])
        raise DataError(f"{root}: has folders ({named}) but none of good images; {_LAYOUTS}.")
    return Splits([Sample(path, "good") for path in find_images(root)])


def labelled_images(folder: Path) -> list[Sample]:
    """Return the images in a folder's subfolders: ``good``, and one for each kind of defect, with their masks.

    Masks are looked for in ``ground_truth`` or ``masks`` beside the folder or in it, as ``<defect>/<stem>_mask.*`` or
    ``<defect>/<stem>.*``.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder.")
    samples = []
    for kind in _folders(folder):
        images = find_images(kind)
        if kind.name.lower() in GOOD_NAMES:
            samples += [Sample(path, "good") for path in images]
        else:
            masks = _masks(folder, kind.name)
            samples += [Sample(path, "defect", masks.get(path.stem), kind.name) for path in images]
    return samples


def _masks(folder: Path, kind: str) -> dict[str, Path]:
    """Return the masks of a kind of defect by the stem of their image."""
    places = [base / name / kind for name in MASK_FOLDERS for base in (folder.parent, folder)]
    found = (path for place in places if place.is_dir() for path in find_images(place))
    return {path.stem.removesuffix("_mask"): path for path in found}


def _good_folder(folder: Path) -> Path | None:
    return next((child for child in _folders(folder) if child.name.lower() in GOOD_NAMES), None)


def _folders(folder: Path) -> list[Path]:
    return [
        child
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".") and child.name not in MASK_FOLDERS
    ]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def find_images(folder: Path) -> list[Path]:
    """Return all images in a folder and its subfolders, sorted by path; hidden files and folders are left out."""
    found = [
        path
        for path in folder.rglob("*")
        if _is_image(path) and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def images_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the images that paths name: files as given, whatever their suffix, all images of folders, and of patterns.

    Patterns are those of the shell, with ``**`` for folders at any depth; what exists is taken by its name. Paths are
    taken as they come, so that an endless list of them works.

    Raises:
        DataError: a path does not exist, a folder has no images, or nothing fits a pattern.
    """
    for path in paths:
        if path.is_dir():
            images = find_images(path)
            if not images:
                raise DataError(f"{path}: no images in this folder.")
            yield from images
        elif path.exists():
            yield path
        elif glob.has_magic(str(path)):
            found = sorted(map(Path, glob.iglob(str(path), recursive=True)))  # noqa: PTH207 - Path.glob takes no absolute one
            if not found:
                raise DataError(f"{path}: nothing fits this pattern.")
            yield from (image for image in found if image.is_file())
        else:
            raise DataError(f"{path}: no such file or folder.")
