"""Shared by all readers: find the folder, list images, pair masks, and say what is missing."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from adcli import DataError, DatasetSpec, MissingCategoryError, OptionError, Options, option
from adcli.data import IMAGE_SUFFIXES, Sample, Splits, count_labels

VARIABLE = "ADCLI_DATA"
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2", ".7z", ".rar")
NAMED = 6
"""How many names a message lists at most."""


class RootOptions(Options):
    """Options of a data set that is read from one folder."""

    root: Path | None = option(None, f"Its folder; if not given, it is looked for in the folder that {VARIABLE} names.")


def check_category(spec: DatasetSpec, category: str | None) -> str:
    """Return a category of the data set; raises OptionError if it has none of that name."""
    if category in spec.categories:
        return str(category)
    listed = ", ".join(spec.categories)
    if category is None:
        raise OptionError(
            f"data set '{spec.name}' needs a category: --data {spec.name}:CATEGORY, with one of {listed}."
        )
    raise OptionError(f"data set '{spec.name}' has no category '{category}'; there are {listed}.")


def refuse_category(spec: DatasetSpec, category: str | None) -> None:
    """Refuse a category for a data set without categories, by OptionError."""
    if category is not None:
        raise OptionError(
            f"data set '{spec.name}' has no categories, but '{category}' was given; use --data {spec.name}."
        )


def find_root(
    spec: DatasetSpec, aliases: Sequence[str], root: Path | None, holds: Callable[[Path], bool], expected: str
) -> Path:
    """Return the folder of a data set: the given one, or the first folder in it that holds the data.

    Args:
        spec: the data set.
        aliases: names of the folder that its archive unpacks to, looked for in ``ADCLI_DATA``.
        root: the folder given by the user, or None.
        holds: tells whether a folder holds the data set.
        expected: what it should hold, for messages: a path below the folder.

    Raises:
        OptionError: neither a folder nor ``ADCLI_DATA`` is given.
        DataError: the folder is missing, or neither it nor a folder in it holds the data.
    """
    given = root.expanduser() if root is not None else _find_on_shelf(spec, aliases)
    if not given.is_dir():
        what = "is a file, not a folder" if given.exists() else "no such folder"
        raise DataError(f"{given}: {what}; data set '{spec.name}' is a folder that holds {expected}.")
    for folder in (given, *subfolders(given)):
        if holds(folder):
            return folder
    raise missing(given, expected)


def _find_on_shelf(spec: DatasetSpec, aliases: Sequence[str]) -> Path:
    """Return the data set's folder in the folder that ``ADCLI_DATA`` names."""
    if not os.environ.get(VARIABLE):
        raise OptionError(
            f"data set '{spec.name}' needs its folder: -d root=FOLDER, or {VARIABLE} set to a folder that holds "
            f"'{spec.name}'; 'adcli datasets show {spec.name}' says where to obtain it."
        )
    shelf = Path(os.environ[VARIABLE]).expanduser()
    if not shelf.is_dir():
        raise DataError(f"{shelf}: no such folder; it is the value of {VARIABLE}.")
    wanted = [name.lower() for name in (spec.name, *aliases)]
    matching = [folder for folder in subfolders(shelf) if folder.name.lower() in wanted]
    if not matching:
        raise missing(shelf, " or ".join((spec.name, *aliases)))
    return min(matching, key=lambda folder: wanted.index(folder.name.lower()))


def category_folder(
    spec: DatasetSpec, aliases: Sequence[str], root: Path | None, category: str | None, inner: str
) -> Path:
    """Return the folder of a category, which holds the folder ``inner``; raises as :func:`find_root`."""
    category = check_category(spec, category)

    def holds(folder: Path) -> bool:
        return any((folder / name).is_dir() for name in spec.categories)

    folder = find_root(spec, aliases, root, holds, f"{category}/{inner}") / category
    for place in (folder, folder / category):
        if (place / inner).is_dir():
            return place
    raise missing_of_category(folder, inner)


def missing_of_category(folder: Path, expected: str) -> DataError:
    """Return the error for a category's folder that lacks something, or does not exist at all."""
    error = missing(folder, expected)
    return error if folder.is_dir() else MissingCategoryError(error.format_message())


def missing(folder: Path, expected: str) -> DataError:
    """Return the error for a folder that lacks something or does not exist: what was expected, and what is there."""
    while not folder.is_dir():
        folder, expected = folder.parent, f"{folder.name}/{expected}"
    return DataError(f"{folder}: expected {expected}; {found_in(folder)}.")


def found_in(folder: Path) -> str:
    """Return in words what is in a folder; archives that were not unpacked come first."""
    if not folder.is_dir():
        return "there is no such folder"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    packed = [name for name in names if name.lower().endswith(ARCHIVES)]
    if packed:
        return f"found {packed[0]}, unpack it first"
    if not names:
        return "the folder is empty"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"found {', '.join(names[:NAMED])}{more}"


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted by name, without hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def is_image(path: Path) -> bool:
    """Tell whether a path is a file that is named like an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def images_in(folder: Path) -> list[Path]:
    """Return the images in a folder, sorted by name.

    Raises:
        DataError: the folder does not exist or has no images.
    """
    if not folder.is_dir():
        raise missing(folder.parent, folder.name)
    images = sorted(path for path in folder.iterdir() if is_image(path))
    if not images:
        raise missing(folder, "images")
    return images


def masks_in(folder: Path, suffix: str = "_mask") -> dict[str, Path]:
    """Return the masks in a folder by the stem of their image; nothing if the folder does not exist."""
    if not folder.is_dir():
        return {}
    return {path.stem.removesuffix(suffix): path for path in sorted(folder.iterdir()) if is_image(path)}


def good(images: Iterable[Path]) -> list[Sample]:
    """Return good samples."""
    return [Sample(image, "good") for image in images]


def defective(
    images: Sequence[Path], masks: Mapping[str, Path], folder: Path, kind: str | None = None, *, complete: bool = True
) -> list[Sample]:
    """Return defective samples, each with the mask of its stem.

    Args:
        images: the images.
        masks: masks by the stem of their image.
        folder: where the masks are, for the message.
        kind: the kind of defect.
        complete: whether every image needs a mask; otherwise only some do.

    Raises:
        DataError: masks are missing.
    """
    bare = [image for image in images if image.stem not in masks]
    if bare and (complete or len(bare) == len(images)):
        which = f"{len(bare)} of {len(images)} masks, for example that of {bare[0].parent.name}/{bare[0].name}"
        raise DataError(f"{folder}: lacks {which}; {found_in(folder)}. Unpack the archive completely.")
    return [Sample(image, "defect", masks.get(image.stem), kind) for image in images]


def labelled(
    test: Path,
    truth: Path,
    *,
    normal: str = "good",
    named: bool = True,
    complete: bool = True,
    find_masks: Callable[[Path], dict[str, Path]] = masks_in,
) -> list[Sample]:
    """Return the images of a test folder, which has a folder for good images and one for each kind of defect.

    Args:
        test: the folder.
        truth: the folder of masks, with a folder for each kind of defect.
        normal: name of the folder of good images.
        named: whether the names of the other folders are kinds of defects.
        complete: whether every defect needs a mask.
        find_masks: returns the masks in the folder of a kind, by stem.

    Raises:
        DataError: folders, images or masks are missing.
    """
    if not test.is_dir():
        raise missing(test.parent, test.name)
    samples = good(images_in(test / normal))
    for kind in subfolders(test):
        if kind.name != normal and kind != truth:
            masks, name = find_masks(truth / kind.name), kind.name if named else None
            samples += defective(images_in(kind), masks, truth / kind.name, name, complete=complete)
    if all(sample.label == "good" for sample in samples):
        raise missing(test, f"folders of defects next to '{normal}'")
    return sorted(samples, key=lambda sample: sample.image)


def divide(train: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Return the good ones of training images, and the known defects."""
    good = [sample for sample in train if sample.label == "good"]
    return good, [sample for sample in train if sample.label == "defect"]


def read_splits(
    folder: Path,
    title: str,
    train: Sequence[Sample],
    test: Sequence[Sample],
    validation: Sequence[Sample] = (),
    defects: Sequence[Sample] = (),
    places: Sequence[Path] | None = None,
    aside: Iterable[Path] = (),
) -> Splits:
    """Return the splits, described in one line, with what is passed over.

    Args:
        folder: that of the data set or category.
        title: what it is.
        train: its training images.
        test: its test images.
        validation: its validation images.
        defects: its known defects to train on.
        places: the folders that are listed, if not the whole folder; of a table that lists images, none.
        aside: images and masks that no split has, as the title says.
    """
    # Imported here: every command that looks up a name imports this module.
    from adcli.data import list_left_out

    words = [f"{folder}: {title}", f"{len(train)} good images to train on", f"test: {count_labels(test)}"]
    if validation:
        words.append(f"validation: {count_labels(validation)}")
    bare = sum(sample.label == "defect" and sample.mask is None for sample in test)
    if bare:
        words.append(f"{bare} defects without a mask")
    if defects:
        words.append(f"known defects to train on: {count_labels(defects)}")
    samples, aside = [*train, *test, *validation, *defects], {*aside}
    folders = [folder] if places is None else places
    left_out = [entry for place in folders for entry in list_left_out(place, samples, aside)]
    return Splits(train, test, validation, "; ".join(words), left_out, defects)
