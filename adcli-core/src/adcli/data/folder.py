"""Read folders of images as data sets."""

import contextlib
import glob
import os
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from adcli._files import check_reachable, exists, find_shut, is_folder
from adcli._plugins.builtin import FolderOptions
from adcli.data import table
from adcli.data.decoding import list_marking
from adcli.data.drawings import Drawings, is_labelme, list_drawn
from adcli.data.formats import IMAGE_SUFFIXES
from adcli.data.left_out import (
    DANGLING,
    LOOP,
    MARKED_GOOD,
    NO_IMAGE,
    OUTSIDE,
    SPECIAL,
    SURPLUS_MASK,
    LeftOut,
    Omissions,
    Reason,
    no_format,
)
from adcli.data.samples import Sample, Splits, count_labels, say_defects
from adcli.data.splitting import choose_tested
from adcli.data.written import PICTURES_FOLDER, VERDICTS_FILE, find_artefact, is_artefact
from adcli.errors import DataError, OptionError, one_line

GOOD_NAMES = frozenset({"good", "ok", "normal"})
DEFECT_NAMES = frozenset({"ng", "ko", "bad", "defect", "defects", "defective", "abnormal", "anomaly", "anomalous"})
"""Folders of defects; if such a folder holds folders and no images, each of those is a kind of defect."""

MASK_FOLDERS = ("ground_truth", "masks", "groundtruth", "gt", "mask")
MASK_ENDINGS = ("_mask", "_gt")
"""How the name of a mask ends that may lie beside its image."""

OTHER_MASK_ENDINGS = ("_label", "_labels", "_seg", "_segmentation", "_masks", "-mask", ".mask")
MASK_BEGINNINGS = ("mask_", "mask-", "gt_", "label_", "seg_")
"""What names of masks have besides, in folders of masks."""

COMPANIONS = frozenset(
    {".txt", ".md", ".rst", ".json", ".jsonl", ".ndjson", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".toml", ".ini"}
    | {".cfg", ".db", ".log", ".html", ".htm", ".pdf", ".xls", ".xlsx", ".ods", ".doc", ".docx", ".py", ".ipynb"}
    | {".sh", ".bat", ".md5", ".sha256"}
)
"""How the names of files end that lie beside images and are none."""

PLAIN_NAMES = frozenset({"license", "licence", "readme", "copying", "notice"})
"""Names of such files without an ending."""

TRAIN, TEST, VALIDATION = ("train", "training"), ("test", "testing"), ("validation", "val", "valid")
_LAYOUTS = (
    "expected train/good with test/<good or defect>, or a folder 'good' and one for each kind of defect, "
    "or a folder of good images"
)


def load(options: FolderOptions, category: str | None) -> Splits:
    """Read a folder laid out in one of three ways.

    - ``train/good``, ``test/good``, ``test/<defect>``, with masks in ``ground_truth/<defect>/<stem>_mask.png``, and
      optionally ``validation`` laid out like ``test``, and known defects in ``train/<defect>``;
    - ``good`` and ``<defect>`` folders side by side: all defects and a share of the good images, chosen by their
      content, are for testing;
    - only images: all of them are good.

    The case of names does not matter, ``ok`` and ``normal`` also mean good, and the layout may lie one folder deeper,
    as archives often unpack.

    Raises:
        DataError: the folder is missing, or has no good images.
    """
    if options.root is None:
        raise OptionError("data set 'folder' needs a folder: --data FOLDER.")
    if category is not None:
        raise OptionError(f"data set 'folder' has no categories; for '{category}', give its own folder.")
    check_reachable(options.root, DataError)
    if not is_folder(options.root):
        raise _no_folder(options.root)
    _refuse_artefact(options.root)
    with reading(options.root):
        root = _unwrap(options.root)
    train = _find_folder(root, TRAIN)
    if train is not None:
        return _describe(_read_split(root, train), root, "train and test folders")
    if _find_folder(root, GOOD_NAMES) is not None:
        share = f"good and defect folders, {options.test_share:.0%} of good for testing"
        splits = _read_classes(root, options)
        return _describe(splits, root, share if splits.test else "a folder of good images, and none of defects")
    return _describe(_read_images(root), root, "a folder of images, all taken as good")


def _no_folder(root: Path) -> DataError:
    if not exists(root):
        return DataError(f"{root}: no such folder.")
    if not root.is_file():
        return DataError(f"{root}: is no folder, but a pipe or a device.")
    hint = f"; for a table use --data table:{root}" if root.suffix.lower() in table.SUFFIXES else ""
    return DataError(f"{root}: is a file, not a folder{hint}.")


def _refuse_artefact(root: Path) -> None:
    artefact = find_artefact(root)
    if artefact is not None:
        what = "is" if artefact == Path(os.path.realpath(root)) else f"lies in {artefact},"
        raise DataError(f"{root}: {what} a run or an export of adcli, whose pictures are no data; give photographs.")


def _unwrap(root: Path) -> Path:
    """Return the only folder in a folder if it holds a layout and the outer one does not; else the outer one."""
    inner = _folders(root)
    if len(inner) != 1 or _holds_layout(root) or any(map(_is_image, root.iterdir())):
        return root
    return inner[0] if _holds_layout(inner[0]) else root


def holds_layout(root: Path) -> bool:
    """Tell whether the folders in a folder, or in the only one in it, tell good images from others."""
    with reading(root):
        return _holds_layout(_unwrap(root))


def _holds_layout(folder: Path) -> bool:
    return _find_folder(folder, (*TRAIN, *GOOD_NAMES)) is not None


def _find_folder(folder: Path, names: Container[str]) -> Path | None:
    """Return the first folder in a folder with one of some names, given in lower case; the folder's case is ignored."""
    return next((child for child in _folders(folder) if child.name.lower() in names), None)


def _describe(splits: Splits, root: Path, layout: str) -> Splits:
    if not splits.train:
        raise DataError(f"{root}: no good images; {_LAYOUTS}.")
    words = f"{root}: {layout}; {len(splits.train)} good images to train on; test: {count_labels(splits.test)}"
    words += say_defects(splits.defects)
    defects = [sample for sample in splits.test if sample.label == "defect"]
    bare = sum(sample.mask is None for sample in defects)
    if defects and bare == len(defects):
        words += "; no masks found, so defects are not located in the metrics"
    elif bare:
        words += f"; {bare} of {len(defects)} defects have no mask"
    drawn = count_pictures(root)
    if drawn:
        words += f"; left out {drawn} picture{'s' if drawn > 1 else ''} made by adcli"
    samples = [*splits.train, *splits.defects, *splits.test, *splits.validation]
    return replace(splits, description=words, left_out=list_left_out(root, samples))


def list_left_out(root: Path, samples: Iterable[Sample], aside: Iterable[Path] = ()) -> tuple[LeftOut, ...]:
    """Return what lies in a folder and is passed over: for :attr:`Splits.left_out` of what a data set reads.

    Args:
        root: the folder.
        samples: of all splits; a mask may be a folder.
        aside: images and masks of which the data set says itself why no sample has them.

    Raises:
        DataError: a folder cannot be read.
    """
    left_out, samples = Omissions(), list(samples)
    images, _ = _search(root, left_out)
    used = {path for sample in samples for path in (sample.image, sample.mask) if path is not None} | {*aside}
    unused = [path for path in images if used.isdisjoint((path, path.parent))]
    if unused and any(map(os.path.islink, _folders_of(used, root))):
        real = set(map(os.path.realpath, used))
        unused = [path for path in unused if os.path.realpath(path) not in real]
    owners = _Owners(samples, root, images)
    files = _find_json(root)
    judged = {path: owners.judge(path) for path in (*unused, *filter(is_labelme, files)) if path not in used}
    for file in files:
        drawn = {path: image for path, image in list_drawn(file, images).items() if path not in used}
        judged |= {path: owners.judge_drawn(image) for path, image in drawn.items()}
    idle = list[Path]()
    for path, reason in judged.items():
        if reason is MARKED_GOOD:
            idle.append(path)
        elif reason is not None:
            left_out.add(reason, path.relative_to(root).as_posix())
    # Many data sets have a black mask for each good image.
    for path in list_marking(idle):
        left_out.add(MARKED_GOOD, path.relative_to(root).as_posix())
    return left_out.take()


def _find_json(root: Path) -> list[Path]:
    """Return the files in a folder that may hold shapes, sorted."""
    with reading(root):
        files = [
            place / entry.name
            for place, entries in _walk(root, [], Omissions())
            for entry in entries
            if entry.name.lower().endswith(".json")
        ]
    return sorted(files)


class _Owners:
    """Tells whose mask a file is that no sample has.

    Args:
        samples: of all splits.
        root: the folder of the data.
        images: all in it, masks among them.
    """

    def __init__(self, samples: Sequence[Sample], root: Path, images: Iterable[Path]) -> None:
        self.root = root
        self.plain = {_normal(sample.image.with_suffix("")): sample for sample in samples}
        self.all_plain = {_normal(image.with_suffix("")) for image in images}
        self.good = {_normal(sample.image.stem) for sample in samples if sample.label == "good"}
        self.masked = {
            ((sample.defect or "").lower(), _normal(sample.image.stem)) for sample in samples if sample.mask is not None
        }
        self.stems = {stem for _, stem in self.masked}
        self.kinds = {sample.defect.lower() for sample in samples if sample.defect}

    def judge(self, path: Path) -> Reason | None:
        """Return why a file is passed over; :data:`MARKED_GOOD` if it marks anything; None if it is nothing odd."""
        folders = [part.lower() for part in path.relative_to(self.root).parts[:-1]]
        beside = self._judge_beside(path)
        if beside is not None or {*folders}.isdisjoint(MASK_FOLDERS):
            return beside or self._judge_outside(path)
        stems = {*_image_stems(path)}
        if {*folders} & GOOD_NAMES:
            return MARKED_GOOD
        if kinds := {*folders} & self.kinds:
            return SURPLUS_MASK if self.masked & {(kind, stem) for kind in kinds for stem in stems} else NO_IMAGE
        if folders[-1] in MASK_FOLDERS and stems & self.stems:
            return SURPLUS_MASK
        return MARKED_GOOD if stems & self.good else NO_IMAGE

    def judge_drawn(self, image: Path | None) -> Reason | None:
        """Return why a mask in a file for many images is passed over, as :meth:`judge`; of the image that it is of."""
        if image is None:
            return NO_IMAGE
        owner = self.plain.get(_normal(image.with_suffix("")))
        if owner is None or owner.label is None:
            return None
        return MARKED_GOOD if owner.label == "good" else SURPLUS_MASK

    def _judge_beside(self, path: Path) -> Reason | None:
        """Return what is wrong with a mask that lies beside an image of the data; None if it does not."""
        plain = _strip_mask_ending(path)
        if plain == path.with_suffix("") and path.suffix.lower() != ".json":
            return None
        owner = self.plain.get(_normal(plain)) or self.plain.get(_normal(path.with_suffix("")))
        if owner is None:
            return None
        return SURPLUS_MASK if owner.mask is not None else MARKED_GOOD if owner.label == "good" else None

    def _judge_outside(self, path: Path) -> Reason | None:
        """Return what a file is that lies in no folder of masks, and beside no image of the data."""
        if path.suffix.lower() != ".json":
            return OUTSIDE
        return None if _normal(path.with_suffix("")) in self.all_plain else NO_IMAGE


def _folders_of(images: Iterable[Path], root: Path) -> set[Path]:
    """Return all folders below a root that lead to images."""
    folders = {image.parent for image in images}
    return {above for folder in folders for above in (folder, *folder.parents) if above.is_relative_to(root)} - {root}


def _read_split(root: Path, training: Path) -> Splits:
    folder = _find_folder(training, GOOD_NAMES) or training
    if folder == training and _folders(folder):
        raise DataError(f"{folder}: has folders but no 'good' one; training needs train/good.")
    train = _good_samples(folder)
    test, validation = (_find_folder(root, names) for names in (TEST, VALIDATION))
    known = [] if folder == training else [one for one in labelled_images(training) if one.label == "defect"]
    return Splits(
        train,
        labelled_images(test) if test else [],
        labelled_images(validation) if validation else [],
        defects=known,
    )


def _read_classes(root: Path, options: FolderOptions) -> Splits:
    samples = labelled_images(root)
    good = [sample for sample in samples if sample.label == "good"]
    defects = [sample for sample in samples if sample.label == "defect"]
    if not defects:
        return Splits(good)
    tested = choose_tested(samples, options)
    train = [sample for sample in good if sample.image not in tested]
    return Splits(train, [*(sample for sample in good if sample.image in tested), *defects])


def _read_images(root: Path) -> Splits:
    own = [path for path in sorted(root.iterdir()) if _is_image(path)]
    folders = _folders(root)
    if not own and folders:
        named = ", ".join(folder.name for folder in folders[:5])
        raise DataError(f"{root}: has folders ({named}) but none of good images; {_LAYOUTS}.")
    return Splits(_good_samples(root))


def labelled_images(folder: Path) -> list[Sample]:
    """Return the images in a folder's subfolders, ``good`` and one for each kind of defect, with their masks.

    The folders in ``NG`` (or ``defect`` ...) count as kinds if it holds no images itself. A mask is ``<stem>_mask.*``
    next to its image, or ``<stem>_mask.*`` or ``<stem>.*`` in a folder ``ground_truth`` or ``masks``. That folder lies
    in the given folder or next to it, and may hold a folder for each kind. Else it is what was drawn with labelme, in
    ``<stem>.json`` in these places, or in a file of COCO such as ``annotations.json``.

    Raises:
        DataError: the folder does not exist, or cannot be listed.
    """
    check_reachable(folder, DataError)
    if not is_folder(folder):
        raise DataError(f"{folder}: no such folder.")
    samples, served = list[Sample](), dict[Path, Path]()
    with reading(folder):
        for kind in _find_kinds(folder):
            if kind.name.lower() in GOOD_NAMES:
                samples += _good_samples(kind)
            else:
                samples += _label_defects(folder, kind, _find_drawings(folder, kind, served))
    return samples


def _find_kinds(folder: Path) -> Iterator[Path]:
    """Yield the folders of good images and of each kind of defect."""
    for kind in _folders(folder):
        inner = _folders(kind)
        if kind.name.lower() in DEFECT_NAMES and inner and not any(map(_is_image, kind.iterdir())):
            yield from inner
        else:
            yield kind


def _label_defects(folder: Path, kind: Path, drawings: Drawings) -> list[Sample]:
    """Return the samples of one kind of defect, each with its mask; masks beside their images are not samples."""
    files = find_images(kind)
    beside = _find_beside(files)
    # The last of several has the likeliest name; the others are surplus.
    marked = {_normal(_strip_mask_ending(mask)): mask for mask in beside}
    masks = _find_masks(folder, kind, {_normal(file.stem) for file in files})
    samples = []
    for image in files:
        if image not in beside:
            plain = image.with_suffix("")
            below, name = _normal(plain.relative_to(kind)), _normal(plain.name)
            mask = marked.get(_normal(plain)) or masks.get(below) or masks.get(name) or drawings.find(image)
            samples.append(Sample(image, "defect", mask, kind.name))
    return samples


def _find_beside(files: Iterable[Path]) -> dict[Path, None]:
    """Return those of some files that are masks beside their images, in order.

    Without an image that it could be the mask of, a file is an image, whatever its name.
    """
    stems = {file: _normal(file.with_suffix("")) for file in files}
    there = {*stems.values()}
    stripped = {file: _normal(_strip_mask_ending(file)) for file in stems}
    return {file: None for file, stem in stems.items() if stripped[file] != stem and stripped[file] in there}


def _good_samples(folder: Path) -> list[Sample]:
    """Return the samples in a folder of good images."""
    files = find_images(folder)
    beside = _find_beside(files)
    return [Sample(path, "good") for path in files if path not in beside]


def _normal(path: Path | str) -> str:
    """Return what is the same for names that systems write down in different ways, with accents apart or not."""
    return unicodedata.normalize("NFC", path if isinstance(path, str) else path.as_posix())


def _find_masks(folder: Path, kind: Path, images: Container[str]) -> dict[str, Path]:
    """Return the masks of a kind, by their image's path without suffix below the kind's folder.

    A mask whose stem is unique also serves images with that stem in other folders, so the stem is a key as well.

    Args:
        folder: of all kinds.
        kind: the folder of the kind.
        images: stems of its images; a mask with one of them is not called after another.
    """
    bases = _mask_folders(folder)
    found = []
    for base in bases:
        place = _find_folder(base, {kind.name.lower()})
        if place is not None:
            found += [(mask.relative_to(place).parent, mask) for mask in find_images(place)]
    if not found:
        # Masks in no folder of a kind's name serve all kinds; deeper ones belong to another kind.
        found = [(Path(), mask) for base in bases for mask in sorted(base.iterdir()) if _is_image(mask)]
    keyed = [
        (parent, stem, mask)
        for parent, mask in found
        for stem in ([_normal(mask.stem)] if _normal(mask.stem) in images else _image_stems(mask))
    ]
    count = Counter(stem for _, stem, _ in keyed)
    unique = {stem: mask for _, stem, mask in keyed if count[stem] == 1}
    return unique | {_normal((parent / stem).as_posix()): mask for parent, stem, mask in keyed}


def _image_stems(mask: Path) -> list[str]:
    """Return the stems that the image of a mask may have, the likeliest last."""
    stem = _normal(mask.stem)
    endings = [ending for ending in (*OTHER_MASK_ENDINGS, *MASK_ENDINGS) if stem.lower().endswith(ending)]
    beginnings = [beginning for beginning in MASK_BEGINNINGS if stem.lower().startswith(beginning)]
    stems = [stem, *(stem[: -len(ending)] for ending in endings), *(stem[len(begin) :] for begin in beginnings)]
    return [stem for stem in stems if stem]


def _mask_folders(folder: Path) -> list[Path]:
    return [
        child
        for parent in (folder.parent, folder)
        for child in sorted(parent.iterdir())
        if child.is_dir() and child.name.lower() in MASK_FOLDERS
    ]


def _find_drawings(folder: Path, kind: Path, served: dict[Path, Path]) -> Drawings:
    """Return the files of shapes that may have masks of a kind."""
    bases = _mask_folders(folder)
    places = [place for base in bases if (place := _find_folder(base, {kind.name.lower()})) is not None]
    return Drawings(kind, [kind, folder, folder.parent, *bases], [*places, *bases], MASK_ENDINGS, served)


def _strip_mask_ending(path: Path) -> Path:
    """Return a path without its suffix and, if it is named as a mask, without that ending: the stem of its image."""
    stem = path.with_suffix("")
    for ending in MASK_ENDINGS:
        if stem.name.lower().endswith(ending) and len(stem.name) > len(ending):
            return stem.with_name(stem.name[: -len(ending)])
    return stem


def _folders(folder: Path) -> list[Path]:
    return [
        child
        for child in sorted(folder.iterdir())
        if child.is_dir()
        and not child.name.startswith(".")
        and child.name.lower() not in MASK_FOLDERS
        and not _is_made_by_adcli(child)
    ]


def _is_made_by_adcli(folder: Path) -> bool:
    """Tell whether a folder is a run or an export, holds pictures of ``adcli predict``, or these and no photographs."""
    if is_artefact(folder) or (folder.name == PICTURES_FOLDER and (folder.parent / VERDICTS_FILE).is_file()):
        return True
    holds = (folder / VERDICTS_FILE).is_file() or any(map(is_artefact, folder.iterdir()))
    return holds and not find_images(folder)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def find_images(folder: Path, left_out: Omissions | None = None) -> list[Path]:
    """Return all images in a folder and its subfolders, sorted by path.

    Linked folders are followed, and each folder is visited once. Hidden files and folders are left out, and so are
    runs, exports and the pictures of ``adcli predict``: what lies in a folder ``maps`` beside a ``predictions.csv``.

    Args:
        folder: where they lie.
        left_out: collects what else is left out.

    Raises:
        DataError: a folder cannot be read.
    """
    images, _ = _search(folder, left_out)
    return images


def count_pictures(folder: Path) -> int:
    """Return how many images :func:`find_images` leaves out, as adcli wrote them; 0 of what is no folder."""
    with reading(folder):
        if not folder.is_dir():
            return 0
    _, made = _search(folder)
    return sum(len(find_images(place)) + count_pictures(place) for place in made)


def _search(folder: Path, left_out: Omissions | None = None) -> tuple[list[Path], list[Path]]:
    """Return the images in a folder and its subfolders, and the folders that adcli wrote and that are left out."""
    images, made, left_out = list[Path](), list[Path](), left_out or Omissions()
    with reading(folder):
        for place, files in _walk(folder, made, left_out):
            for entry in files:
                if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 - is called for each file
                    images.append(place / entry.name)
                elif not _is_companion(entry.name):
                    left_out.add(no_format(Path(entry.name)), entry.path)
    return sorted(images, key=lambda path: path.relative_to(folder).as_posix()), made


def _is_companion(name: str) -> bool:
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122
    return suffix in COMPANIONS or (not suffix and stem in PLAIN_NAMES)


def _walk(folder: Path, made: list[Path], left_out: Omissions) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Yield each folder once, with its files that are there and not hidden; linked folders come after all others.

    Args:
        folder: where to begin.
        made: receives the folders that adcli wrote, which are left out.
        left_out: collects links that lead nowhere, or back, and what is neither file nor folder.
    """
    seen, waiting, linked = _identify_above(folder), [folder], list[Path]()
    while waiting or linked:
        if not waiting:
            linked.sort(reverse=True)
            waiting.append(linked.pop())
        place = waiting.pop()
        identity = _identify(place)
        if place != folder and place.is_symlink() and identity in _identify_above(place.parent):
            left_out.add(LOOP, place)
            continue
        if identity in seen and place != folder:
            continue
        seen.add(identity)
        with os.scandir(place) as listed:
            entries = [entry for entry in listed if not entry.name.startswith(".")]
        names = {entry.name for entry in entries}
        if place != folder and is_artefact(place, names):
            made.append(place)
            continue
        drawn = {PICTURES_FOLDER} if VERDICTS_FILE in names else set()
        files = []
        for entry in entries:
            kind = _kind_of(entry)
            if kind == "folder" and entry.name in drawn:
                made.append(place / entry.name)
            elif kind == "folder":
                (linked.append if entry.is_symlink() else waiting.append)(place / entry.name)
            elif kind == "file":
                files.append(entry)
            else:
                left_out.add(DANGLING if kind == "nothing" else SPECIAL, entry.path)
        yield place, files


def _kind_of(entry: os.DirEntry[str]) -> str:
    """Return ``"folder"``, ``"file"``, ``"nothing"`` of a link that leads nowhere, and else ``"other"``."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        entry.stat()
    except OSError:
        return "nothing"
    return "other"


def _identify(folder: Path) -> tuple[int, int]:
    """Return what tells a folder apart from all others, whatever leads to it."""
    found = folder.stat()
    return found.st_dev, found.st_ino


def _identify_above(folder: Path) -> set[tuple[int, int]]:
    """Return what identifies a folder and all folders that it lies in; a link to one of them would have no end."""
    real = Path(os.path.realpath(folder))
    found = set()
    for place in (real, *real.parents):
        with contextlib.suppress(OSError):
            found.add(_identify(place))
    return found


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the system's refusal to look at a path into a :class:`DataError` that names it."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        if isinstance(error, PermissionError):
            where = find_shut(where)
        raise DataError(f"{where}: cannot be read ({error.strerror or error}).") from None
    except ValueError as error:
        raise DataError(f"{path}: is no path ({one_line(str(error))}).") from None


def images_in(paths: Iterable[str | Path], left_out: Omissions | None = None) -> Iterator[Path]:
    """Yield the images that paths name: files whatever their suffix, images in folders, files that fit a pattern.

    Patterns are those of the shell, with ``**`` for folders at any depth; a file whose name looks like a pattern is
    taken as a file. Paths are taken one by one, so the list may be endless.

    Args:
        paths: files, folders and patterns.
        left_out: collects what folders hold besides.

    Raises:
        DataError: a path is empty or does not exist, a folder has no images, or nothing fits a pattern.
    """
    for path in paths:
        if not str(path):
            raise DataError("the name of an image is empty.")
        yield from _images_at(Path(path), left_out)


def _images_at(path: Path, left_out: Omissions | None) -> Sequence[Path]:
    check_reachable(path, DataError)
    with reading(path):
        if is_folder(path) and is_artefact(path):
            found, lack = [], "is a run or an export of adcli, not a folder of images."
        elif is_folder(path):
            found, lack = find_images(path, left_out), "no images in this folder."
        elif exists(path):
            found, lack = [path], ""
        elif glob.has_magic(str(path)):
            named = map(Path, glob.iglob(str(path), recursive=True))  # noqa: PTH207 - Path.glob refuses absolute patterns
            try:
                found, lack = sorted(image for image in named if image.is_file()), "nothing fits this pattern."
            except RecursionError:
                found, lack = [], "the pattern has too many folders."
        else:
            found, lack = [], "no such file or folder."
    if not found:
        raise DataError(f"{one_line(path)}: {lack}")
    return found


def common_folder(paths: Iterable[str | Path]) -> Path | None:
    """Return the absolute folder in which all lies that paths and patterns name; None if there is none."""
    try:
        return Path(os.path.commonpath([_fixed_folder(Path(path)) for path in paths]))
    except (ValueError, OSError):
        return None


def _fixed_folder(path: Path) -> str:
    """Return the absolute folder of a file, a folder itself, or the folder above the first part of a pattern."""
    if path.is_dir():
        return os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
    fixed = path if path.exists() else Path(*takewhile(lambda part: not glob.has_magic(part), path.parts), "any")
    return os.path.abspath(fixed.parent)  # noqa: PTH100
