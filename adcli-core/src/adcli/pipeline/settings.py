"""Everything that decides what a training run computes, in one validated object that ``run.yaml`` stores."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from adcli.errors import OptionError
from adcli.options import Options, option

if TYPE_CHECKING:
    from adcli.data.framing import Flags, Framing

BATCH_SIZE = 16
"""Images computed at a time where nothing else is asked for."""


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
        from adcli.data.framing import parse_size

        super().__post_init__()
        if self.image_size is not None:
            parse_size(self.image_size)
        framing(self, None)
        parse_calibration(self.calibration)
        if self.threshold not in (None, "f1"):
            parse_threshold(str(self.threshold))


def framing(settings: TrainSettings, ignored: "Flags | None") -> "Framing":
    """Return what the settings do to images before they are resized; ``ignored`` are the areas of ``--ignore``."""
    from adcli.data.framing import parse_framing

    return parse_framing(settings.region, settings.crop, settings.fit, ignored)


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
        raise OptionError(f"--config {path}: not valid YAML ({' '.join(str(error).split())[:200]}).") from None
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
