"""Everything that decides what a training run computes, said once.

:class:`TrainSettings` declares each setting: name, type, default, bounds, help, and what the command line calls it.
:mod:`adcli.cli.flags` makes the options of the commands from it, ``--config`` and Python are held to the same, and
``run.yaml`` stores it. A new setting is a field here, and its use. Nothing heavy is imported, so ``--help`` is quick.
"""

import glob
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adcli._files import check_reachable
from adcli.errors import DataError, OptionError, one_line, suggest
from adcli.options import Options, declare, validate

if TYPE_CHECKING:
    from adcli.data.framing import Flags, Framing

BATCH_SIZE = 16
"""Images computed at a time, unless something else is asked for."""

MOST = 2**31 - 1
"""The largest number of anything."""

DEVICES = ("auto", "cpu", "cuda", "mps")
PAIR = "KEY=VALUE"


def _by(parse: str) -> Callable[[str], object]:
    """Check by a function of :mod:`adcli.data.framing`, which imports numpy, and so is imported when it is used."""

    def check(text: str) -> object:
        from adcli.data import framing

        return getattr(framing, parse)(text)

    return check


def _check_size(text: str) -> None:
    if text != "auto":
        _by("parse_size")(text)


def _refuse_empty(text: str) -> None:
    """Refuse what a shell makes of a variable that is not set: as a path it would be the current folder."""
    if not text.strip():
        raise OptionError("is empty; give a path.")


def parse_calibration(text: str) -> float | int | Path | None:
    """Return a share of the images (float), a number of folds (int), a folder, or None for ``none``."""
    if text == "none":
        return None
    _refuse_empty(text)
    folds = re.fullmatch(r"(\d+)-fold", text)
    if folds:
        if len(folds[1]) > 3 or not 2 <= int(folds[1]) <= 100:
            raise OptionError(f"must be 2-fold to 100-fold, not '{text}'.")
        return int(folds[1])
    try:
        share = float(text)
    except ValueError:
        return Path(text)
    if not 0 < share < 1:
        raise OptionError(f"must be a share between 0 and 1, for example 0.2, not {text}.")
    return share


def parse_threshold(text: str) -> float | None:
    """Return a threshold given as a number, or None for ``f1``."""
    if text == "f1":
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise OptionError(f"must be f1 or a number, not '{text}'.")
    return value


def _check_part(text: str) -> object:
    from adcli.data.part_rule import check_pattern

    return check_pattern(text)


class TrainSettings(Options):
    """The settings of ``adcli train``; a config file and ``run.yaml`` use the same names.

    In each field, ``flags`` are its names on the command line if not ``--name``, ``otherwise`` says what happens
    by default if the default does not say it itself, ``words`` that the option can be repeated, and the field holds the
    values with spaces between them, and ``complete`` how a shell completes it: by several words, or as
    :mod:`adcli.cli.shells` knows.
    """

    model: str = declare(
        MISSING,
        "Model to train; 'adcli models' lists them.",
        "Model",
        "NAME",
        flags=("--model", "-m"),
        complete="models",
    )
    data: str | None = declare(
        None,
        "Folder, table:FILE or data set NAME[:CATEGORY,...].",
        "Data",
        "REF",
        otherwise="the demo data",
        complete="data",
    )
    data_options: dict[str, Any] = declare(
        {}, "Option of the data set ('adcli datasets show NAME').", "Data", PAIR, flags=("-d",), complete="data_options"
    )
    options: dict[str, Any] = declare(
        {}, "Option of the model ('adcli models show NAME').", "Model", PAIR, flags=("-o",), complete="model_options"
    )
    updatable: bool = declare(False, "Keep what 'adcli update' needs to learn more images later.", "Model")
    patience: int | None = declare(
        None,
        "Stop a training when the loss of good images held out from it has not fallen for so many epochs.",
        "Model",
        "N",
        ge=1,
        otherwise="never; all epochs",
    )
    image_size: str | None = declare(
        None,
        "Size that images, or tiles of them, are resized to; auto has their aspect.",
        "Images",
        "N|HxW|auto",
        check=_check_size,
        otherwise="auto for models on a backbone, else the model's",
    )
    region: str | None = declare(
        None,
        "Part of each image to look at; given several times with names, such as left=0,0,640,480, zones.",
        "Images",
        "[NAME=]X,Y,W,H",
        check=_by("parse_zones"),
        otherwise="all of it",
        words=True,
    )
    crop: str | None = declare(
        None,
        "Centre of the image or region to look at.",
        "Images",
        "N|HxW",
        check=_by("parse_crop"),
        otherwise="all of it",
    )
    fit: Literal["squash", "letterbox"] = declare(
        "squash", "squash images to the model's size, or letterbox them to keep their aspect.", "Images", "HOW"
    )
    ignore: str | None = declare(
        None, "Mask image; its non-zero pixels are ignored.", "Images", "FILE", complete="files", check=_refuse_empty
    )
    tiles: str | None = declare(
        None,
        "Cut each image into tiles, each looked at by itself: as many beside and below each other, or auto.",
        "Images",
        "CxR|auto",
        check=_by("parse_tiles"),
        otherwise="one, the whole image",
    )
    tile_overlap: float = declare(
        0.125, "Share of a tile's sides that it has in common with the next.", "Images", "SHARE", ge=0, le=0.5
    )
    white: str = declare(
        "auto",
        "Value of 16-bit images that is white, such as 4095 of 12-bit cameras.",
        "Images",
        "VALUE|auto",
        check=_by("parse_white"),
        otherwise="auto: measured on the training images",
    )
    reading: Literal["full", "scaled"] = declare(
        "full", "full, or scaled: decode a JPEG no finer than the model needs, in less time.", "Images", "HOW"
    )
    batch_size: int | None = declare(
        None, "Images computed at a time.", "Computing", "N", ge=1, le=MOST, otherwise=BATCH_SIZE
    )
    seed: int = declare(0, "Seed of every random choice.", "Computing", "N", ge=0, le=2**32 - 1)
    device: str = declare("auto", "auto, cpu, cuda, cuda:N or mps.", "Computing", "NAME", complete=DEVICES)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = declare(
        "auto", "auto, fp32, bf16 or fp16, for training; scores are always float32.", "Computing", "NAME"
    )
    workers: int = declare(2, "Threads that decode images.", "Computing", "N", ge=0, le=MOST)
    cache: int = declare(256, "Megabytes of decoded images kept in memory.", "Computing", "MB", ge=0, le=MOST)
    false_alarm_rate: float = declare(
        0.01, "Share of good images that may be called defective.", "Calibration", "RATE", ge=1e-9, lt=1
    )
    confidence: float = declare(
        0.0,
        "Confidence that this rate is kept with, such as 0.95; 0: it is kept on average.",
        "Calibration",
        "SHARE",
        ge=0,
        lt=1,
    )
    calibration: str = declare(
        "0.2",
        "What sets the threshold: a SHARE of the good images held out, a DIR of good images, K-fold, or none.",
        "Calibration",
        "HOW",
        check=parse_calibration,
        complete="folders",
    )
    threshold: str | None = declare(
        None, "f1 (needs labelled images), or a number, instead.", "Calibration", "T", check=parse_threshold
    )
    validation: str | None = declare(
        None, "Labelled images for --threshold f1.", "Calibration", "DIR", complete="folders", check=_refuse_empty
    )
    part: str | None = declare(
        None,
        "Regular expression that finds in an image's name the part it shows: the images of a part are judged together.",
        "Data",
        "REGEX",
        check=_check_part,
        otherwise="each image is a part",
    )
    views: int | None = declare(
        None,
        "Images of a complete part; with fewer, it is no pass.",
        "Data",
        "N",
        ge=1,
        le=MOST,
        otherwise="any number",
    )
    shots: int | None = declare(
        None,
        "Good images to fit on, drawn by the seed; fewer shots are among more.",
        "Data",
        "N",
        ge=1,
        le=MOST,
        otherwise="all",
    )
    skip_unreadable: bool = declare(False, "List unreadable images instead of stopping at the first.", "Data")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.region is not None and self.crop is not None:
            framing(self, None)


FIELDS = TrainSettings.__dataclass_fields__
"""The declarations, by name."""


def framing(settings: TrainSettings, ignored: "Flags | None") -> "Framing":
    """Return what the settings do to images before they are resized; ``ignored`` are the areas of ``--ignore``."""
    from adcli.data.framing import parse_framing

    return parse_framing(
        settings.region,
        settings.crop,
        settings.fit,
        ignored,
        settings.white,
        tiles=settings.tiles,
        overlap=settings.tile_overlap,
        reading=settings.reading,
    )


def anchor_paths(settings: TrainSettings) -> TrainSettings:
    """Return settings whose paths, but for those of data, mean the same from any folder."""
    from adcli.data.references import make_absolute

    calibration = parse_calibration(settings.calibration)
    return replace(
        settings,
        calibration=str(make_absolute(settings.calibration)) if isinstance(calibration, Path) else settings.calibration,
        validation=settings.validation and str(make_absolute(settings.validation)),
        ignore=settings.ignore and str(make_absolute(settings.ignore)),
    )


def check_places(settings: TrainSettings) -> None:
    """Check, before an image is read, that each file and folder that the settings name is there, and is for something.

    Raises:
        DataError: one is not there.
        OptionError: validation images, or an overlap of tiles, that nothing would look at.
    """
    if settings.validation is not None and settings.threshold != "f1":
        raise OptionError(f"--validation {settings.validation}: is for --threshold f1; give both, or neither.")
    if settings.tiles is None and settings.tile_overlap != FIELDS["tile_overlap"].default:
        raise OptionError(f"--tile-overlap {settings.tile_overlap:g}: is for --tiles; give both, or neither.")
    calibration = parse_calibration(settings.calibration)
    named = {"calibration": calibration, "validation": settings.validation, "ignore": settings.ignore}
    for name, place in named.items():
        # A pattern is no path, and what stands in the way of looking is said when it is read.
        if isinstance(place, str | Path):
            check_reachable(place, DataError)
        if isinstance(place, str | Path) and not os.path.lexists(place) and not glob.has_magic(str(place)):
            what = "file" if name == "ignore" else "folder"
            raise DataError(f"--{name} {place}: no such {what}.")


NOT_SETTINGS = ("format", "created", "command", "record", "digest")
"""Keys of ``run.yaml`` that say what happened and are no settings."""


def read_config(path: Path) -> dict[str, Any]:
    """Return the settings in a YAML file, which may be the ``run.yaml`` of an earlier run.

    Raises:
        OptionError: the file cannot be read, is no YAML mapping, or holds a name or a value that is no setting's.
    """
    from adcli._artefacts.parsing import LARGEST_YAML, parse_yaml

    try:
        # It may be a pipe, such as a shell makes of another command's output.
        with path.open("rb") as file:
            loaded = parse_yaml(file.read(LARGEST_YAML + 1).decode("utf-8-sig"))
    except OSError as error:
        raise OptionError(f"--config {path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise OptionError(f"--config {path}: not valid YAML ({one_line(str(error))}).") from None
    if not isinstance(loaded, dict):
        raise OptionError(f"--config {path}: holds no settings; write them as 'name: value'.")
    settings = {key: value for key, value in loaded.items() if key not in NOT_SETTINGS}
    unknown = [one_line(key)[:60] for key in settings if key not in FIELDS]
    # One wrong name is a slip of the hand; a file that is mostly something else was meant for something else.
    if len(unknown) > max(2, len(settings) - len(unknown)):
        named = ", ".join(unknown[:3])
        raise OptionError(f"--config {path}: is no file of settings (it has {named} ...); give a run.yaml or such.")
    try:
        for key, value in settings.items():
            if key not in FIELDS:
                raise OptionError(f"is not a setting.{suggest(key, FIELDS)}", option=one_line(key)[:60])
            validate(TrainSettings, key, value)
    except OptionError as error:
        error.option = f"--config {path}: {error.option}"
        raise
    return settings


def merge(config: Mapping[str, Any], given: Mapping[str, Any]) -> TrainSettings:
    """Return the settings of a config file overridden by those given on the command line.

    Model and data set options merge key by key, unless the command line changes the model or the data.
    """
    merged = dict(config)
    for key, value in given.items():
        if key in ("options", "data_options"):
            owner = "model" if key == "options" else "data"
            kept = config.get(key) if owner not in config or given.get(owner, config[owner]) == config[owner] else None
            value = {**(kept or {}), **value}
        merged[key] = value
    return TrainSettings.parse(merged)
