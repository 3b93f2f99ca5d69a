"""Predicting with a run or an export."""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Literal, get_args

import numpy as np

from adcli._files import remove_leftovers, storing, writing
from adcli._system import is_reserved
from adcli.data.folder import images_in
from adcli.data.left_out import Omissions
from adcli.data.photograph import ImageLike, Photograph, Unreadable
from adcli.errors import DataError, OptionError
from adcli.options import list_choices
from adcli.pipeline._open import open_scorer
from adcli.pipeline._predictions import Predictions
from adcli.progress import Progress, Silent
from adcli.report.map_files import write_map, write_mask
from adcli.report.overlays import Alone, draw_alone, draw_overlay
from adcli.scoring.opened import Opened
from adcli.scoring.prediction import Prediction
from adcli.scoring.scorer import Scorer


def predict(
    run: Opened | Scorer, images: ImageLike | Iterable[ImageLike], *, progress: Progress | None = None
) -> Predictions:
    """Give what a run or an export says of photographs, as they are scored: a prediction for each, in order.

    They are taken one at a time, in a loop; or ``to_pandas()`` takes them all and returns a table.

    A photograph that cannot be read, a path that is gone, and a folder or a pattern without images have a prediction as
    well: its ``problem`` says why, its ``score`` is NaN and its ``is_defect`` None. So look at ``problem`` or
    ``verdict`` before you take what is no defect as good. The pixels of a prediction's photograph are let go when the
    next prediction is asked for. If the iterator of the images raises an error, that comes after all predictions.

    Args:
        run: a finished run or an export, or its scorer to choose device, batch size or threads.
        images: image files, folders and patterns; the bytes of image files; arrays (H, W, 3) or (H, W), uint8;
            photographs; or one of them. Of an iterator, each is taken when it is needed.
        progress: receives progress.
    """
    scorer = run if isinstance(run, Scorer) else open_scorer(run)
    several = _list_sources(images)
    sources: Iterable[ImageLike | Unreadable] = _expand(several, scorer.source.left_out)
    if isinstance(several, Sequence):
        sources = list(sources)
    count = len(sources) if isinstance(sources, list) else 0
    source = scorer.origin.run if isinstance(run, Scorer) else run.path
    return Predictions((progress or Silent()).track(scorer(sources), count, "predicting"), source)


def _list_sources(images: ImageLike | Iterable[ImageLike]) -> Iterable[ImageLike]:
    """Return several images as they are, and one as a list of one."""
    if isinstance(images, (Photograph, str, Path, bytes)):
        return [images]
    return [images] if isinstance(images, np.ndarray) and images.ndim < 4 else images


def _expand(images: Iterable[ImageLike], left_out: Omissions) -> Iterator[ImageLike | Unreadable]:
    """Yield the images of every folder and pattern, what is wrong with a path in its place, and all else as it is."""
    for image in images:
        if not isinstance(image, (str, Path)):
            yield image
            continue
        try:
            for path in images_in([image], left_out):
                # A path would drop the './' of a name, by which somebody looks for the row.
                yield image if path == Path(image) else path
        except DataError as error:
            yield Unreadable(str(image), error.message, Path(image))


Picture = Literal["", "panels", Alone]
MapForm = Literal["", "tiff", "npy"]


def draw(
    predictions: Iterable[Prediction],
    folder: Path,
    root: Path | None = None,
    *,
    picture: Picture = "panels",
    maps: MapForm = "",
    masks: bool = False,
) -> Iterator[Prediction]:
    """Write a picture of each photograph into a folder, and pass the prediction on; its ``picture`` is the file.

    Files lie in the folder as the photographs lie in ``root``. A photograph outside of it, or any without a root,
    has the folders of its name. Names are compared without case, and no file replaces another: later ones get a
    number. All files of a photograph have the same beginning: ``a.png.png``, ``a.png.tiff`` and ``a.png.mask.png``.

    Args:
        predictions: as they come; of those that cannot be read, nothing is written.
        folder: where to, made if need be.
        root: an absolute folder.
        picture: ``"panels"``, the photograph beside its heat map with a caption; alone and of the photograph's size,
            ``"overlay"``, the heat map over it, ``"heatmap"``, the colours of the map, or ``"outlines"``, the
            photograph with what is marked; or ``""``, none.
        maps: ``"tiff"`` or ``"npy"`` to write the maps as well, as :func:`write_map` does.
        masks: whether to write the masks as well, as :func:`write_mask` does.

    Raises:
        OptionError: there is no such picture or file of maps; or the model has no maps, or masks have no threshold.
        StorageError: a file cannot be written.
    """
    for given, choices in ((picture, get_args(Picture)), (maps, get_args(MapForm))):
        if given not in choices:
            raise OptionError(f"'{given}' is none of {list_choices([repr(choice) for choice in choices])}.")
    return _draw(predictions, PictureNames(folder, root), _list_writers(picture, maps, masks))


_Writer = Callable[[Prediction, Path], None]


def _list_writers(picture: Picture, maps: MapForm, masks: bool) -> Mapping[str, _Writer]:
    """Return what writes the files of a photograph, by how their names end."""
    writers: dict[str, _Writer] = {}
    if picture:
        writers[_PICTURE] = partial(_write_picture, kind=picture)
    if maps:
        writers[f".{maps}"] = write_map
    if masks:
        writers[".mask.png"] = write_mask
    return writers


def _draw(
    predictions: Iterable[Prediction], names: "PictureNames", writers: Mapping[str, _Writer]
) -> Iterator[Prediction]:
    for prediction in predictions:
        if not prediction.problem and writers:
            beginning = names.take(prediction, list(writers))
            for ending, write in writers.items():
                path = beginning.with_name(beginning.name + ending)
                write(prediction, path)
                if ending == _PICTURE:
                    prediction.picture = path
        yield prediction


def _write_picture(prediction: Prediction, path: Path, kind: Literal["panels", Alone]) -> None:
    drawn = draw_overlay(prediction) if kind == "panels" else draw_alone(prediction, kind)
    # Pictures of megapixels are compressed four times as fast so, and hardly any larger.
    fast = {} if kind == "panels" else {"compress_level": 1}
    with writing(path) as file:
        drawn.save(file, "PNG", **fast)


_PICTURE = ".png"
"""How the names of pictures end."""


class PictureNames:
    """Names for the files of photographs, none of which is there yet.

    Args:
        folder: where they lie.
        root: the folder of photographs whose structure they have; None for that of the photographs' names.
    """

    def __init__(self, folder: Path, root: Path | None) -> None:
        self.folder, self.root = folder, root
        self._count = Counter[str]()
        self._taken = set[str]()
        self._seen = set[Path]()

    def take(self, prediction: Prediction, endings: Sequence[str]) -> Path:
        """Return what the names of its files begin with, in a folder that is there; with each ending, it is free."""
        *folders, name = map(_shorten, self._place(prediction))
        place = self.folder.joinpath(*folders)
        with storing(place):
            try:
                place.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                # A picture has the name that the folder needs.
                folders, name, place = [], _shorten("_".join([*folders, name])), self.folder
            if place not in self._seen:
                self._seen.add(place)
                remove_leftovers(place)
            return self._free(place, "/".join(folders), name, endings)

    def _free(self, place: Path, folders: str, name: str, endings: Sequence[str]) -> Path:
        key = _fold(f"{folders}/{name}")
        while True:
            self._count[key] += 1
            beginning = f"{name}{'' if self._count[key] == 1 else f'-{self._count[key]}'}"
            files = [f"{beginning}{ending}" for ending in endings]
            taken = {_fold(f"{folders}/{file}") for file in files}
            if not (taken & self._taken or any(os.path.lexists(place / file) for file in files)):
                self._taken |= taken
                return place / beginning

    def _place(self, prediction: Prediction) -> Sequence[str]:
        """Return the folders and the name of a photograph, so that they lead to nothing outside of a folder."""
        if prediction.path is None:
            named = PurePath(_NO_FILE_NAME.sub("_", prediction.name))
        else:
            named, whole = prediction.path, Path(os.path.abspath(prediction.path))  # noqa: PTH100
            if self.root is not None and whole.is_relative_to(self.root):
                named = whole.relative_to(self.root)
        return [part for part in named.parts if part not in (named.anchor, "..")] or ["image"]


_NO_FILE_NAME = re.compile(r'[\x00-\x1f<>:"|?*\\]')
"""What some system does not have in the name of a file."""

_NAME_BYTES = 200
"""What systems take is 255; a number, an ending and the name of a temporary file need some."""


def _shorten(name: str) -> str:
    """Return a name that every system takes: of one that is too long the beginning, and a digest of all."""
    name = f"_{name}" if is_reserved(name) else name
    encoded = os.fsencode(name)
    if len(encoded) <= _NAME_BYTES:
        return name
    return f"{encoded[: _NAME_BYTES - 9].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:8]}"


def _fold(name: str) -> str:
    """Return what is the same for names that some system takes for the same."""
    return unicodedata.normalize("NFC", name).casefold()
