"""Masks that people drew as shapes: files of labelme, one for each image, and of COCO, one for many.

The mask of an image in a file of COCO is named by that file and, as if it were a folder, the number of the image in it:
``annotations.json/17``.
"""

import base64
import binascii
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from adcli._artefacts.parsing import parse_json
from adcli.data import shapes
from adcli.data.formats import most_pixels, open_image, say_limit
from adcli.data.texts import read_text
from adcli.errors import DataError, one_line

COCO_NAMES = ("annotations.json", "_annotations.coco.json", "instances_*.json", "*.coco.json")
"""What files of COCO are called, in lower case."""

_NO_DEFECT = ("_background_", "__ignore__")
"""What labelme calls shapes that mark nothing."""

_LARGEST_DRAWING = 1 << 28
"""Bytes of a file of labelme, at most; most of them are its photograph."""

_SHAPES = {"polygon": 3, "rectangle": 2, "circle": 2, "line": 2, "linestrip": 2, "point": 1, "points": 1, "mask": 2}
"""The shapes of labelme, each with the points that it has at least."""


@dataclass(frozen=True)
class _Entry:
    """An image in a file of COCO: the number by which it is named, what is said of it, and what is drawn in it."""

    number: int
    about: Mapping[str, Any]
    annotations: Sequence[Mapping[str, Any]]

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(str(self.about.get("file_name", "")).replace("\\", "/")).parts


@dataclass(frozen=True)
class _Coco:
    entries: Mapping[int, _Entry]
    by_name: Mapping[str, Sequence[_Entry]]


def is_drawing(path: Path) -> bool:
    """Tell whether the name of a mask is that of a file of shapes, or of an image in one."""
    return path.suffix.lower() == ".json" or (path.parent.suffix.lower() == ".json" and path.name.isdecimal())


def is_labelme(file: Path) -> bool:
    """Tell whether a file is one of labelme; what is too large for one, or cannot be read, is none."""
    try:
        return file.stat().st_size <= _LARGEST_DRAWING and "shapes" in _keys(file)
    except (OSError, DataError):
        return False


def list_drawn(file: Path, images: Iterable[Path]) -> dict[Path, Path | None]:
    """Return what names each mask in a file, if it is one of COCO for many images, with the image that it is of.

    Args:
        file: which may be such a file.
        images: which its masks may be of.
    """
    try:
        content = _load(file) if _is_coco_name(file.name) else {}
        if not isinstance(content, _Coco):
            return {}
        found = ((_find_entry(content, file, image), image) for image in images)
        owners = {entry.number: image for entry, image in found if entry is not None}
    except DataError:
        # Whoever wants a mask of such a file is told.
        return {}
    drawn = (entry.number for entry in content.entries.values() if entry.annotations)
    return {file / str(number): owners.get(number) for number in drawn}


def draw(path: Path) -> shapes.Mask:
    """Return the mask that shapes mark, at the size of the image that they were drawn on.

    Raises:
        DataError: the file cannot be read, or a shape cannot be drawn; the message names both.
    """
    content, size = _open(path)
    mask = np.zeros(size, bool)
    named = _name_annotations(content) if isinstance(content, _Entry) else _name_shapes(content)
    for what, draw_one in named:
        try:
            draw_one(mask)
        except DataError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise DataError(f"{path}: {what} cannot be drawn ({one_line(str(error))}).") from None
    return mask


def drawn_size(path: Path) -> tuple[int, int]:
    """Return height and width of the image that shapes were drawn on; raises as :func:`draw`."""
    return _open(path)[1]


def entry_of(file: Path, image: Path) -> Path:
    """Return what names the mask of an image, whose shapes are in a file; of a mask that is an image, its path.

    Raises:
        DataError: the file is for many images, but not for this one.
    """
    if file.suffix.lower() != ".json" or not isinstance(content := _load(file), _Coco):
        return file
    entry = _find_entry(content, file, image)
    if entry is None:
        raise DataError(f"{file}: has no image that is called as {image}.")
    return file / str(entry.number)


class Drawings:
    """The files of shapes that may have the masks of a kind of defect.

    Args:
        kind: the folder of its images.
        folders: where files may lie that are for many images.
        places: folders of masks, where files of single images may lie as well.
        endings: what may follow the name of an image in the name of its mask.
        served: the images of all kinds whose masks were found in files for many, by what names these.
    """

    def __init__(
        self,
        kind: Path,
        folders: Iterable[Path],
        places: Sequence[Path],
        endings: Sequence[str],
        served: dict[Path, Path],
    ) -> None:
        self.kind, self.places, self.endings = kind, places, ("", *endings)
        found = (file for folder in folders for file in sorted(folder.glob("*.json")) if _is_coco_name(file.name))
        self._shared = [file for file in dict.fromkeys(found) if isinstance(_load(file), _Coco)]
        self._served = served

    def find(self, image: Path) -> Path | None:
        """Return what names the mask of an image; None if nothing is drawn of it.

        Raises:
            DataError: one drawing may be of two images.
        """
        return self._find_own(image) or self._find_shared(image)

    def _find_own(self, image: Path) -> Path | None:
        below = image.relative_to(self.kind).with_suffix("")
        stems = [image.with_suffix(""), *(place / stem for place in self.places for stem in (below, below.name))]
        named = (stem.with_name(f"{stem.name}{ending}.json") for stem in stems for ending in self.endings)
        return next((file for file in named if file.is_file() and "shapes" in _keys(file)), None)

    def _find_shared(self, image: Path) -> Path | None:
        for file in self._shared:
            content = _load(file)
            assert isinstance(content, _Coco)
            entry = _find_entry(content, file, image)
            if entry is not None and entry.annotations:
                mask = file / str(entry.number)
                other = self._served.setdefault(mask, image)
                if other != image:
                    name = "/".join(entry.parts)
                    raise DataError(f"{file}: '{name}' may be {other} or {image}; give it the folders, too.")
                return mask
        return None


def _is_coco_name(name: str) -> bool:
    return any(fnmatch(name.lower(), pattern) for pattern in COCO_NAMES)


def _find_entry(content: _Coco, file: Path, image: Path) -> _Entry | None:
    """Return the entry whose name has most folders in common with an image, all of its own among them."""
    fitting = [
        entry for entry in content.by_name.get(image.name, ()) if image.parts[-len(entry.parts) :] == entry.parts
    ]
    longest = max((len(entry.parts) for entry in fitting), default=0)
    found = [entry for entry in fitting if len(entry.parts) == longest]
    if len(found) > 1:
        raise DataError(f"{file}: has {len(found)} images that are called '{'/'.join(found[0].parts)}'.")
    return found[0] if found else None


def _open(path: Path) -> tuple[_Entry | Mapping[str, Any], tuple[int, int]]:
    """Return what is drawn, and height and width of the image."""
    file = path if path.suffix.lower() == ".json" else path.parent
    content = _load(file)
    if isinstance(content, _Coco):
        if file == path or int(path.name) not in content.entries:
            raise DataError(f"{path}: names no image of this file of COCO.")
        entry = content.entries[int(path.name)]
        return entry, _check_size(path, entry.about.get("height"), entry.about.get("width"))
    if not isinstance(content.get("shapes"), list):
        raise DataError(
            f"{path}: is neither of labelme (it has no list 'shapes') nor of COCO ('images', 'annotations')."
        )
    return content, _check_size(path, content.get("imageHeight"), content.get("imageWidth"))


def _check_size(path: Path, height: Any, width: Any) -> tuple[int, int]:
    if not (type(height) is int and type(width) is int and height > 0 and width > 0):
        raise DataError(f"{path}: does not say how high and wide its image is.")
    if height * width > most_pixels():
        raise DataError(f"{path}: its image, {width} x {height}, {say_limit(height * width)}.")
    return height, width


def _load(file: Path) -> _Coco | Mapping[str, Any]:
    try:
        found = file.stat()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}).") from None
    return _parse(file, found.st_mtime_ns, found.st_size)


def _keys(file: Path) -> Container[str]:
    content = _load(file)
    return () if isinstance(content, _Coco) else content


@lru_cache(maxsize=8)
def _parse(file: Path, _changed: int, _size: int) -> _Coco | Mapping[str, Any]:
    try:
        content = parse_json(read_text(file), finite=False)
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({one_line(str(error))}).") from None
    if not isinstance(content, dict):
        return {}
    # labelme keeps the photograph, too.
    content.pop("imageData", None)
    if isinstance(content.get("images"), list) and isinstance(content.get("annotations"), list):
        return _index(file, content["images"], content["annotations"])
    return content


def _index(file: Path, images: Sequence[Any], annotations: Sequence[Any]) -> _Coco:
    drawn: dict[int, list[Mapping[str, Any]]] = {}
    for number, about in enumerate(images, 1):
        if not (isinstance(about, dict) and type(about.get("id")) is int and about["id"] >= 0):
            raise DataError(f"{file}: image {number} has no 'id' that is a number.")
        drawn[about["id"]] = []
    for number, annotation in enumerate(annotations, 1):
        image = annotation.get("image_id") if isinstance(annotation, dict) else None
        if type(image) is not int or image not in drawn:
            raise DataError(f"{file}: annotation {number} is of no image in this file.")
        drawn[image].append(annotation)
    entries = {about["id"]: _Entry(about["id"], about, drawn[about["id"]]) for about in images}
    by_name: dict[str, list[_Entry]] = {}
    for entry in entries.values():
        if entry.parts:
            by_name.setdefault(entry.parts[-1], []).append(entry)
    return _Coco(entries, by_name)


def _name_annotations(entry: _Entry) -> Iterator[tuple[str, Any]]:
    for number, annotation in enumerate(entry.annotations, 1):
        named = annotation.get("id", f"number {number}")
        yield f"annotation {one_line(named)}", lambda mask, one=annotation: _add_annotation(mask, one)


def _add_annotation(mask: shapes.Mask, annotation: Mapping[str, Any]) -> None:
    """Mark the parts of a segmentation: polygons, or run lengths."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        if list(segmentation.get("size", ())) != list(mask.shape):
            raise ValueError(f"its size is not that of the image, {list(mask.shape)}")
        mask |= shapes.decode_runs(segmentation.get("counts"), (mask.shape[0], mask.shape[1]))
        return
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("it has no segmentation; a box alone is no mask")
    for part in segmentation:
        shapes.add_polygon(mask, shapes.read_points(part, 3))


def _name_shapes(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for number, shape in enumerate(content["shapes"], 1):
        label = shape.get("label") if isinstance(shape, dict) else ""
        if label not in _NO_DEFECT:
            named = f"shape {number}" + (f" ('{one_line(label)}')" if label else "")
            yield named, lambda mask, one=shape: _add_shape(mask, one)


def _add_shape(mask: shapes.Mask, shape: Any) -> None:
    if not isinstance(shape, dict):
        raise ValueError("it is no object")
    kind = shape.get("shape_type") or "polygon"
    if kind not in _SHAPES:
        raise ValueError(f"'{one_line(kind)[:40]}' is no shape that is known")
    points = shapes.read_points(shape.get("points"), _SHAPES[kind])
    if kind == "polygon":
        shapes.add_polygon(mask, points)
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = points[:2]
        shapes.add_polygon(mask, np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]))
    elif kind == "circle":
        shapes.add_circle(mask, points[0], points[1])
    elif kind == "mask":
        shapes.add_patch(mask, _decode_patch(shape.get("mask")), *map(int, points.min(axis=0)))
    elif kind in ("line", "linestrip"):
        shapes.add_line(mask, points)
    else:
        for point in points:
            shapes.add_line(mask, np.array([point, point]))


def _decode_patch(text: Any) -> shapes.Mask:
    """Return the image of a mask that is written as text."""
    try:
        content = base64.b64decode(text, validate=True)
        with open_image(content) as image:
            patch: shapes.Mask = np.asarray(image.convert("L")) > 0
    except (TypeError, binascii.Error, ValueError, OSError, SyntaxError):
        raise ValueError("its mask is no image") from None
    return patch
