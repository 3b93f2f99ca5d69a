"""Everything that decides what a training run computes, in one validated object that ``run.yaml`` stores."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from adcli.data.decoding import Size
from adcli.data.framing import Box, Flags, Framing
from adcli.errors import OptionError, one_line
from adcli.options import Options, option

BATCH_SIZE = 16
"""Images computed at a time where nothing else is asked for."""


SMALLEST = 16
"""Pixels that a side of what is looked at has at least."""


class TrainSettings(Options):
    """The settings of ``adcli train``; the same names stand in a config file and in ``run.yaml``."""

    model: str = option("patchcore", "Model, see 'adcli models'.")
    data: str | None = option(None, "Folder or data set; the demo data when left out.")
    data_options: dict[str, Any] = option({}, "Options of the data set.")
    options: dict[str, Any] = option({}, "Options of the model.")
    image_size: str | None = option(None, "Size images are resized to: N, or HEIGHTxWIDTH.")
    region: str | None = option(None, "Part of each image to look at, in its pixels: X,Y,WIDTH,HEIGHT.")
    crop: str | None = option(None, "Centre of the image, or of its region, to look at: N, or HEIGHTxWIDTH.")
    fit: Literal["squash", "letterbox"] = option("squash", "How images of another aspect than the model's are fitted.")
    ignore: str | None = option(None, "Image that is not zero where images are not looked at.")
    batch_size: int | None = option(None, f"Images computed at a time; {BATCH_SIZE} when left out.", ge=1)
    seed: int = option(0, "Seed of every random choice.", ge=0)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option("auto", "Precision of fitting; scores are float32.")
    workers: int = option(2, "Threads that decode images.", ge=0)
    cache: int = option(256, "Megabytes of decoded images kept in memory.", ge=0)
    false_alarm_rate: float = option(0.01, "Share of good images that may be called defective.", gt=0, lt=1)
    calibration: str = option("0.2", "Share of good images held out, a folder of good images, K-fold, or none.")
    threshold: str | None = option(None, "f1, or a value, instead of the calibrated threshold.")
    validation: str | None = option(None, "Folder of labelled images for --threshold f1.")
    skip_unreadable: bool = option(False, "List unreadable images instead of stopping at the first.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size is not None:
            parse_size(self.image_size)
        framing(self, None)
        parse_calibration(self.calibration)
        if self.threshold not in (None, "f1"):
            parse_threshold(str(self.threshold))


def parse_size(text: str) -> Size:
    """Return (height, width) of ``"256"`` or ``"256x128"``; at least 16 pixels each."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", str(text).strip().lower())
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not SMALLEST <= min(size) <= max(size) <= 8192:
        raise OptionError(f"--image-size is '{text}'; give N or HEIGHTxWIDTH, each from 16 to 8192 pixels.")
    return size


def parse_region(text: str) -> Box:
    """Return x, y, width and height of ``"40,0,640,480"``; at least 16 pixels wide and high."""
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", text, re.ASCII)
    if not match or min(int(match[3]), int(match[4])) < SMALLEST:
        raise OptionError(
            f"--region is '{text}'; give X,Y,WIDTH,HEIGHT in pixels, such as 40,0,640,480, at least {SMALLEST} wide "
            "and high."
        )
    return int(match[1]), int(match[2]), int(match[3]), int(match[4])


def parse_crop(text: str) -> Size:
    """Return (height, width) of ``"480"`` or ``"480x640"``; at least 16 pixels each."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower(), re.ASCII)
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(size) < SMALLEST:
        raise OptionError(f"--crop is '{text}'; give N or HEIGHTxWIDTH, each of at least {SMALLEST} pixels.")
    return size


def framing(settings: TrainSettings, ignored: Flags | None) -> Framing:
    """Return what the settings do to images before they are resized.

    Args:
        settings: of a run.
        ignored: the areas that are not looked at, read from where they are.
    """
    region = None if settings.region is None else parse_region(settings.region)
    crop = None if settings.crop is None else parse_crop(settings.crop)
    if region is not None and crop is not None and (crop[0] > region[3] or crop[1] > region[2]):
        raise OptionError(f"--crop {settings.crop}: does not fit into --region {settings.region}.")
    return Framing(region, crop, settings.fit, ignored)


def parse_calibration(text: str) -> float | int | Path | None:
    """Return a share of the images (float), a number of folds (int), a folder, or None for ``none``."""
    if text == "none":
        return None
    folds = re.fullmatch(r"(\d+)-fold", text)
    if folds:
        if not 2 <= int(folds[1]) <= 100:
            raise OptionError(f"--calibration is '{text}'; use 2-fold to 100-fold.")
        return int(folds[1])
    try:
        share = float(text)
    except ValueError:
        return Path(text)
    if not 0 < share < 1:
        raise OptionError(f"--calibration is {text}; a share lies between 0 and 1, such as 0.2.")
    return share


def parse_threshold(text: str) -> float:
    """Return a threshold given as a number."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise OptionError(f"--threshold is '{text}'; give 'f1' or a number.")
    return value


NOT_SETTINGS = ("format", "created", "command", "record", "digest")
"""Keys of ``run.yaml`` that say what happened and are no settings."""


def read_config(path: Path) -> dict[str, Any]:
    """Return the settings in a YAML file, which may be the ``run.yaml`` of an earlier run.

    Raises:
        OptionError: the file cannot be read, is no YAML mapping, or names settings that do not exist.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"--config {path}: cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"--config {path}: not valid YAML ({one_line(str(error))}).") from None
    if not isinstance(loaded, dict):
        raise OptionError(f"--config {path}: holds no settings; write them as 'name: value'.")
    return {key: value for key, value in loaded.items() if key not in NOT_SETTINGS}


def merge(config: Mapping[str, Any], given: Mapping[str, Any]) -> TrainSettings:
    """Return the settings of a config file overridden by those given on the command line.

    Model and data set options merge key by key, unless the command line changes the model or the data.
    """
    merged = dict(config)
    for key, value in given.items():
        if key in ("options", "data_options"):
            owner = "model" if key == "options" else "data"
            kept = config.get(key) if given.get(owner, config.get(owner)) == config.get(owner) else None
            value = {**(kept or {}), **value}
        merged[key] = value
    return TrainSettings.parse(merged)
