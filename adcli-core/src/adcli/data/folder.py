"""Folders of images as data sets."""

import glob
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from adcli._plugins.builtin import FolderOptions
from adcli.data import table
from adcli.data.samples import IMAGE_SUFFIXES, Sample, Splits, count_labels
from adcli.data.splitting import held_out
from adcli.errors import DataError, OptionError

GOOD_NAMES = frozenset({"good", "ok", "normal"})
DEFECT_NAMES = frozenset({"ng", "ko", "bad", "defect", "defects", "defective", "abnormal", "anomaly", "anomalous"})
"""Folders of defects whose own folders, where they have some and no images, are the kinds."""

MASK_FOLDERS = ("ground_truth", "masks", "groundtruth", "gt", "mask")
MASK_ENDINGS = ("_mask", "_gt")
TRAIN, TEST, VALIDATION = ("train", "training"), ("test", "testing"), ("validation", "val", "valid")
_LAYOUTS = (
    "expected train/good with test/<good or defect>, or folders 'good' and one for each kind of defect, "
    "or a folder of good images"
)


def load(options: FolderOptions, category: str | None) -> Splits:
    """Read a folder laid out in one of three ways.

    - ``train/good``, ``test/good``, ``test/<defect>``, with masks in ``ground_truth/<defect>/<stem>_mask.png``, and
      optionally ``validation`` laid out like ``test``;
    - ``good`` and ``<defect>`` folders side by side: all defects and a share of the good images, chosen by their
      content, are for testing;
    - nothing but images: all are taken as good.

    Names are compared without case; ``ok`` and ``normal`` are good as well, and what lies in a single folder further
    down, as archives unpack, is found there.

    Raises:
        DataError: the folder is missing, or has no good images.
    """
    if options.root is None:
        raise OptionError("data set 'folder' needs a folder: --data FOLDER.")
    if category is not None:
        raise OptionError(f"data set 'folder' has no categories such as '{category}': give the category's own folder.")
    if not options.root.is_dir():
        raise _no_folder(options.root)
    root = _unwrapped(options.root)
    train = _named(root, TRAIN)
    if train is not None:
        return _described(_read_split(root, train), root, "train and test folders")
    if _named(root, GOOD_NAMES) is not None:
        share = f"good and defect folders, {options.test_share:.0%} of good for testing"
        return _described(_read_classes(root, options), root, share)
    return _described(_read_images(root), root, "a folder of images, all taken as good")


def _no_folder(root: Path) -> DataError:
    if not root.exists():
        return DataError(f"{root}: no such folder.")
    hint = f"; for a table use --data table:{root}" if root.suffix.lower() in table.SUFFIXES else ""
    return DataError(f"{root}: is a file, not a folder{hint}.")


def _unwrapped(root: Path) -> Path:
    """Return the only folder in a folder, where it holds a layout and the outer one has none; else the outer one."""
    inner = _folders(root)
    if (
        len(inner) == 1
        and not _holds_layout(root)
        and _holds_layout(inner[0])
        and not any(map(_is_image, root.iterdir()))
    ):
        return inner[0]
    return root


def _holds_layout(folder: Path) -> bool:
    return _named(folder, TRAIN) is not None or _named(folder, GOOD_NAMES) is not None


def _named(folder: Path, names: Container[str]) -> Path | None:
    """Return the first folder in a folder that has one of some lower-case names, whatever its case."""
    return next((child for child in _folders(folder) if child.name.lower() in names), None)


def _described(splits: Splits, root: Path, layout: str) -> Splits:
    if not splits.train:
        raise DataError(f"{root}: no good images to train on; {_LAYOUTS}.")
    words = f"{root}: {layout}; {len(splits.train)} good images to train on; test: {count_labels(splits.test)}"
    defects = [sample for sample in splits.test if sample.label == "defect"]
    bare = sum(sample.mask is None for sample in defects)
    if defects and bare == len(defects):
        words += "; no masks found, so defects are not located in the metrics"
    elif bare:
        words += f"; {bare} of {len(defects)} defects have no mask"
    return Splits(splits.train, splits.test, splits.validation, words)


def _read_split(root: Path, training: Path) -> Splits:
    folder = _named(training, GOOD_NAMES) or training
    if folder == training and _folders(folder):
        raise DataError(f"{folder}: has folders but no 'good' one; training needs train/good.")
    train = [Sample(path, "good") for path in find_images(folder)]
    test, validation = (
        labelled_images(place) if (place := _named(root, names)) is not None else [] for names in (TEST, VALIDATION)
    )
    return Splits(train, test, validation)


def _read_classes(root: Path, options: FolderOptions) -> Splits:
    samples = labelled_images(root)
    good = [sample for sample in samples if sample.label == "good"]
    defects = [sample for sample in samples if sample.label == "defect"]
    if not defects:
        return Splits(good)
    tested = held_out([sample.image for sample in good], options.test_share, options.seed)
    train = [sample for sample in good if sample.image not in tested]
    return Splits(train, [*(sample for sample in good if sample.image in tested), *defects])


def _read_images(root: Path) -> Splits:
    own = [path for path in sorted(root.iterdir()) if _is_image(path)]
    folders = _folders(root)
    if not own and folders:
        named = ", ".join(folder.name for folder in folders[:5])
        raise DataError(f"{root}: has folders ({named}) but none of good images; {_LAYOUTS}.")
    return Splits([Sample(path, "good") for path in find_images(root)])


def labelled_images(folder: Path) -> list[Sample]:
    """Return the images in a folder's subfolders: ``good``, and one for each kind of defect, with their masks.

    A folder such as ``NG`` that holds folders and no images stands for those, each a kind. Masks are looked for in
    ``ground_truth`` or ``masks`` beside the folder or in it, in a folder of the kind's name or in none, and beside
    their image: as ``<stem>_mask.*``, or ``<stem>.*`` in a folder of masks.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder.")
    samples = []
    for kind in _kinds(folder):
        images = find_images(kind)
        if kind.name.lower() in GOOD_NAMES:
            samples += [Sample(path, "good") for path in images]
        else:
            samples += _defective(folder, kind, images)
    return samples


def _kinds(folder: Path) -> Iterator[Path]:
    """Yield the folders of good images and of each kind of defect."""
    for kind in _folders(folder):
        inner = _folders(kind)
        if kind.name.lower() in DEFECT_NAMES and inner and not any(map(_is_image, kind.iterdir())):
            yield from inner
        else:
            yield kind


def _defective(folder: Path, kind: Path, images: Sequence[Path]) -> list[Sample]:
    """Return the samples of a kind of defect; what is a mask beside its image is none of them."""
    stems = {path.with_suffix("") for path in images}
    beside = {
        _marked(path): path for path in images if _marked(path) != path.with_suffix("") and _marked(path) in stems
    }
    masks = _masks(folder, kind)
    return [
        Sample(path, "defect", beside.get(path.with_suffix("")) or _mask_of(path.relative_to(kind), masks), kind.name)
        for path in images
        if beside.get(_marked(path)) != path
    ]


def _marked(mask: Path) -> Path:
    """Return a mask's path without what its name ends in: the path of its image, without its suffix."""
    stem = mask.with_suffix("")
    ending = next((ending for ending in MASK_ENDINGS if stem.name.lower().endswith(ending)), "")
    return (
        stem.with_name(stem.name.removesuffix(stem.name[-len(ending) :])) if 0 < len(ending) < len(stem.name) else stem
    )


def _masks(folder: Path, kind: Path) -> dict[str, Path]:
    """Return the masks of a kind by their path below its folder of masks, and by their stem where that is unique."""
    bases = [base for parent in (folder.parent, folder) for base in _mask_folders(parent)]
    places = [place for base in bases if (place := _named(base, {kind.name.lower()})) is not None]
    # Masks in no folder of a kind's name serve all kinds; what lies deeper belongs to another kind.
    found = [(place, path) for place in places for path in find_images(place)]
    found = found or [(base, path) for base in bases for path in sorted(base.iterdir()) if _is_image(path)]
    stems = Counter(_marked(path).name for _, path in found)
    unique = {_marked(path).name: path for _, path in found if stems[_marked(path).name] == 1}
    return unique | {_marked(path).relative_to(place).as_posix(): path for place, path in found}


def _mask_of(image: Path, masks: Mapping[str, Path]) -> Path | None:
    """Return the mask of an image, a path below its kind's folder."""
    return masks.get(image.with_suffix("").as_posix()) or masks.get(image.stem)


def _mask_folders(folder: Path) -> list[Path]:
    return [child for child in sorted(folder.iterdir()) if child.is_dir() and child.name.lower() in MASK_FOLDERS]


def _folders(folder: Path) -> list[Path]:
    return [
        child
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".") and child.name.lower() not in MASK_FOLDERS
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
