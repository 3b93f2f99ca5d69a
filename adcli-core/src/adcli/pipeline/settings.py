"""Everything that decides what a training run computes, said once.

:class:`TrainSettings` declares each setting: name, type, default, bounds, help, and what the command line calls it.
:mod:`adcli.cli.flags` makes the options of the commands from it, ``--config`` and Python are held to the same, and
``run.yaml`` stores it. A new setting is a field here, and its use. Nothing heavy is imported, so ``--help`` is quick.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adcli.errors import OptionError, one_line, suggest
from adcli.options import Options, declare, validate

if TYPE_CHECKING:
    from adcli.data.framing import Flags, Framing

BATCH_SIZE = 16
"""Images computed at a time, unless something else is asked for."""


def _check_in_framing(parse: str) -> Callable[[str], object]:
    """Return a check by a function of :mod:`adcli.data.framing`, which imports numpy, and so is imported when used."""

    def check(text: str) -> object:
        from adcli.data import framing

        return getattr(framing, parse)(text)

    return check


def parse_calibration(text: str) -> float | int | Path | None:
    """Return a share of the images (float), a number of folds (int), a folder, or None for ``none``."""
    if text == "none":
        return None
    folds = re.fullmatch(r"(\d+)-fold", text)
    if folds:
        if not 2 <= int(folds[1]) <= 100:
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


class TrainSettings(Options):
    """The settings of ``adcli train``; a config file and ``run.yaml`` use the same names.

    In each field, ``flags`` are its names on the command line if they are not ``--name``, ``group`` is its section of
    ``adcli train --help``, ``otherwise`` says what happens by default if the default does not say it itself, and
    ``complete`` says how a shell completes it, see :mod:`adcli.cli.shells`.
    """

    model: str = declare(
        MISSING,
        "Model to train; 'adcli models' lists them.",
        flags=("--model", "-m"),
        group="Model",
        metavar="NAME",
        complete="models",
    )
    data: str | None = declare(
        None,
        "Folder of images, table:FILE, or data set NAME[:CATEGORY,...].",
        otherwise="the demo data",
        group="Data",
        metavar="REF",
        complete="data",
    )
    data_options: dict[str, Any] = declare(
        {},
        "Option of the data set; see 'adcli datasets show NAME'.",
        flags=("-d",),
        group="Data",
        metavar="KEY=VALUE",
        complete="data_options",
    )
    options: dict[str, Any] = declare(
        {},
        "Option of the model; see 'adcli models show NAME'.",
        flags=("-o",),
        group="Model",
        metavar="KEY=VALUE",
        complete="model_options",
    )
    image_size: str | None = declare(
        None,
        "Size that images are resized to.",
        check=_check_in_framing("parse_size"),
        otherwise="the model's",
        group="Images",
        metavar="N|HxW",
    )
    region: str | None = declare(
        None,
        "Part of each image to look at, in pixels.",
        check=_check_in_framing("parse_region"),
        otherwise="all of it",
        group="Images",
        metavar="X,Y,W,H",
    )
    crop: str | None = declare(
        None,
        "Centre of each image, or of its region, to look at.",
        check=_check_in_framing("parse_crop"),
        otherwise="all of it",
        group="Images",
        metavar="N|HxW",
    )
    fit: Literal["squash", "letterbox"] = declare(
        "squash",
        "squash images to the model's size, or letterbox them to keep their aspect.",
        group="Images",
        metavar="HOW",
    )
    ignore: str | None = declare(
        None, "Mask image; its non-zero pixels are ignored.", group="Images", metavar="FILE", complete="files"
    )
    batch_size: int | None = declare(
        None, "Images computed at a time.", ge=1, otherwise=str(BATCH_SIZE), group="Computing", metavar="N"
    )
    seed: int = declare(0, "Seed of every random choice.", ge=0, group="Computing", metavar="N")
    device: str = declare(
        "auto", "auto, cpu, cuda, cuda:N or mps.", group="Computing", metavar="NAME", complete="devices"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = declare(
        "auto",
        "Precision of training: auto, fp32, bf16 or fp16; scores are always float32.",
        group="Computing",
        metavar="NAME",
    )
    workers: int = declare(2, "Threads that decode images.", ge=0, group="Computing", metavar="N")
    cache: int = declare(256, "Megabytes of decoded images kept in memory.", ge=0, group="Computing", metavar="MB")
    false_alarm_rate: float = declare(
        0.01, "Share of good images that may be called defective.", gt=0, lt=1, group="Calibration", metavar="RATE"
    )
    calibration: str = declare(
        "0.2",
        "What sets the threshold: a SHARE of the good images held out, a DIR of good images, K-fold, or none.",
        check=parse_calibration,
        group="Calibration",
        metavar="HOW",
        complete="calibrations",
    )
    threshold: str | None = declare(
        None,
        "f1 (needs --validation or a validation set), or a number, instead of the calibrated threshold.",
        check=parse_threshold,
        group="Calibration",
        metavar="T",
    )
    validation: str | None = declare(
        None, "Folder of labelled images for --threshold f1.", group="Calibration", metavar="DIR", complete="folders"
    )
    skip_unreadable: bool = declare(False, "List unreadable images instead of stopping at the first.", group="Data")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.region is not None and self.crop is not None:
            framing(self, None)


FIELDS = TrainSettings.__dataclass_fields__
"""The declarations, by name."""


def framing(settings: TrainSettings, ignored: "Flags | None") -> "Framing":
    """Return what the settings do to images before they are resized; ``ignored`` are the areas of ``--ignore``."""
    from adcli.data.framing import parse_framing

    return parse_framing(settings.region, settings.crop, settings.fit, ignored)


NOT_SETTINGS = ("format", "created", "command", "record", "digest")
"""Keys of ``run.yaml`` that say what happened and are no settings."""


def read_config(path: Path) -> dict[str, Any]:
    """Return the settings in a YAML file, which may be the ``run.yaml`` of an earlier run.

    Raises:
        OptionError: the file cannot be read, is no YAML mapping, or holds a name or a value that is no setting's.
    """
    import yaml

    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"--config {path}: cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"--config {path}: not valid YAML ({one_line(str(error))}).") from None
    if not isinstance(loaded, dict):
        raise OptionError(f"--config {path}: holds no settings; write them as 'name: value'.")
    settings = {key: value for key, value in loaded.items() if key not in NOT_SETTINGS}
    try:
        for key, value in settings.items():
            if key not in FIELDS:
                raise OptionError(f"is not a setting.{suggest(str(key), FIELDS)}", option=str(key))
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
            kept = config.get(key) if given.get(owner, config.get(owner)) == config.get(owner) else None
            value = {**(kept or {}), **value}
        merged[key] = value
    return TrainSettings.parse(merged)
