"""The run folder: written under ``.partial``, renamed when complete, verified when read."""

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

from adcli._showing import introduce, say_threshold
from adcli.runs.calibrations import CALIBRATION_FILE as CALIBRATION_FILE
from adcli.runs.calibrations import open_calibration
from adcli.scoring.calibration import Calibration
from adcli.scoring.opened import Origin
from adcli.scoring.runtime import Runtime

if TYPE_CHECKING:
    from adcli.nn.model import Model
from adcli._artefacts import Artefact
from adcli._artefacts.declaring import UNKNOWN, Count, Digest, Ordinal, Side, Time
from adcli._artefacts.parsing import LARGEST_YAML
from adcli._changes import inside, noticing_removal
from adcli._commands import quote
from adcli._files import file_digest, named
from adcli._locking import open_regular
from adcli._process.imports import without_collection
from adcli.data.bits import WHITE
from adcli.data.decoding import Size
from adcli.data.framing import (
    IGNORE_FILE,
    Flags,
    Framing,
    ignored_digest,
    parse_framing,
    parse_size,
    parse_white,
    read_ignored,
)
from adcli.errors import DataError, OptionError, RunError, needing_torch, one_line, printable
from adcli.runs.settings import FIELDS, NOT_SETTINGS, TrainSettings

FORMAT = 3
"""2: the calibration holds the colours of maps; 3: the names and digests of its images, and a number."""

PARTIAL = ".partial"
RUN_FILE = "run.yaml"
WEIGHTS_FILE = "model.safetensors"
UPDATING_FILE = "updating.safetensors"
"""What a model keeps to learn more images later, if it was asked to."""

NOTE_FILE = "note.txt"
EXPORTS = "exports"

MAX_NOTE = 2000
"""Characters of a note, at most."""


_REMEDY = "the run was changed by hand or damaged; copy it again, or train it again"


class Maker(TypedDict):
    """A plugin as the record of a run or an export names it."""

    distribution: str
    version: str


class _Backbone(TypedDict):
    default_not_available: str | None
    reason: str | None


class _Data(TypedDict):
    fitted: Count
    held_out: Count
    test: str
    defects: NotRequired[str]
    fingerprint: Digest


class _Stopped(TypedDict):
    trained: Ordinal
    kept: Ordinal


class _Fit(TypedDict):
    weights: Digest
    timings: dict[str, float]
    updating: NotRequired[Digest]


class Update(TypedDict):
    """An update that a run came about by.

    Attributes:
        run, weights: name of the run that was updated, and digest of its weights.
        data, data_options: of the images that were learnt in addition.
        fingerprint: of those images.
        fitted, held_out: how many of them were learnt, and how many calibrate.
    """

    run: str
    weights: Digest
    data: str | None
    data_options: dict[str, Any]
    fingerprint: Digest
    fitted: Count
    held_out: Count


class Record(TypedDict, total=False):
    """What ``run.yaml`` says of what happened; a run that is not finished has a part of it."""

    core: str
    model: str
    image_size: tuple[Side, Side]
    plugin: Maker
    backbone: _Backbone
    data: _Data
    learnt_from: Literal["grey", "colours", ""]
    began_with: dict[str, str]
    processes: Ordinal
    ignore: Digest
    fit: _Fit
    stopped: _Stopped
    updates: list[Update]
    updating: Digest
    weights: Digest
    images: Digest
    device: str
    versions: dict[str, str]
    timings: dict[str, float]
    not_evaluated: str
    finished: Time


_OF_FINISHED = ("weights", "core", "model", "plugin", "backbone", "data", "images", "finished")
"""What the record of a finished run has."""


class _RunFile(TypedDict, total=False):
    format: Ordinal
    created: Time
    command: str
    record: Record


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        path: its folder.
        settings: the settings of :class:`adcli.runs.settings.TrainSettings`, complete, as plain values.
        record: what happened: versions, digests, counts, timings.
        calibration: threshold and p-values.
    """

    path: Path
    settings: Mapping[str, Any]
    record: Mapping[str, Any]
    calibration: Calibration

    def __repr__(self) -> str:
        model, data = str(self.settings.get("model", "")), str(self.settings.get("data") or "demo")
        return introduce(self, self.path, model, f"data {data}", say_threshold(self.calibration.image_threshold))

    def _repr_html_(self) -> str:
        from adcli.runs.showing import show_run

        return show_run(self)

    @property
    def name(self) -> str:
        """The name of the real folder, whatever path or link leads to it."""
        return self.path.resolve().name

    @classmethod
    def open(cls, path: Path, *, repairing: bool = False) -> "Run":
        """Read a run folder; everything but the weights is verified here.

        Args:
            path: the folder.
            repairing: take a run without verdicts if its calibration is damaged or that of another run.

        Raises:
            RunError: it is no finished run, comes from a newer core, or was changed since.
        """
        path = named(path)
        file = Artefact(inside(path, RUN_FILE), RunError, _REMEDY)
        content = read_run_file(file.path)
        record = content.pop("record")
        if "weights" not in record:
            command = quote("adcli", "train", "--resume", path)
            raise RunError(f"{path}: the run was not finished; continue it: {command}")
        missing = [name for name in _OF_FINISHED if name not in record]
        if missing or content["image_size"] is None:
            raise file.wrong(f"{f'record.{missing[0]}' if missing else 'image_size'} is missing")
        settings = {key: value for key, value in content.items() if key != "format"}
        with noticing_removal(path, RUN_FILE):
            return cls(path, settings, record, open_calibration(path, record["weights"], repairing))

    @property
    def note(self) -> str:
        """What ``adcli runs note`` said of it, in one line; nothing if it said nothing."""
        path = inside(self.path, NOTE_FILE)
        try:
            with os.fdopen(open_regular(path, os.O_RDONLY), encoding="utf-8", errors="replace") as file:
                return printable(file.read(MAX_NOTE)).strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror}).") from None

    @property
    def origin(self) -> Origin:
        """What verdicts of this run are traced back to."""
        return Origin(self.name, str(self.record.get("weights", "")), str(self.record.get("learnt_from", "")))

    @property
    def image_size(self) -> Size:
        """Height and width of the model's input."""
        return parse_size(str(self.settings["image_size"]))

    @property
    def framing(self) -> Framing:
        """What is done to photographs before they are resized.

        Raises:
            RunError: the run's copy of the ignored areas is missing or was changed.
        """
        region, crop, fit, white = (self.settings[name] for name in ("region", "crop", "fit", "white"))
        ignored = self._read_ignored() if self.settings["ignore"] else None
        tiles, overlap = self.settings["tiles"], self.settings["tile_overlap"]
        reading = self.settings["reading"]
        return parse_framing(region, crop, fit, ignored, white, tiles=tiles, overlap=overlap, reading=reading)

    def _read_ignored(self) -> Flags:
        path = inside(self.path, IGNORE_FILE)
        with noticing_removal(self.path, RUN_FILE):
            try:
                ignored = read_ignored(path)
            except DataError as error:
                raise RunError(f"{error.message.rstrip('.')}; copy the whole run folder again.") from None
        if ignored_digest(ignored) != self.record.get("ignore"):
            raise RunError(f"{path}: was changed or damaged since the run (its pixels differ); restore it or retrain.")
        return ignored

    def restore(self) -> "Model":
        """Return the run's model on the CPU, in evaluation mode; nothing is downloaded and nothing unpickled.

        Raises:
            RunError: the weights are damaged or do not fit, or another command has removed or renamed the run.
            PluginError: the model's plugin is missing or incompatible, or torch is not installed.
        """
        with needing_torch(), without_collection():
            from adcli.nn.restoring import restore_model
        made, by = self.record["model"], self.record["plugin"]
        with noticing_removal(self.path, RUN_FILE), blaming(self.path, "options"):
            return restore_model(made, by, self.settings["options"], self.image_size, self.verified_weights, self.path)

    def runtime(self, device: str = "auto") -> Runtime:
        """Load the model onto a device, ready to score; raises as :meth:`restore`."""
        with needing_torch(), without_collection():
            from adcli.nn.runtime import ModelRuntime
        return ModelRuntime.on(self.restore(), device)

    def verified_weights(self) -> Path:
        """Return the path of the weights after comparing them with their digest."""
        return self._verify(WEIGHTS_FILE, self.record["weights"])

    def verified_updating(self) -> Path | None:
        """Return the path of what updates need, after comparing it with its digest; None if the run keeps nothing."""
        return self._verify(UPDATING_FILE, self.record["updating"]) if "updating" in self.record else None

    def _verify(self, name: str, expected: str) -> Path:
        path = inside(self.path, name)
        with noticing_removal(self.path, RUN_FILE):
            try:
                digest = file_digest(path)
            except OSError as error:
                reason = f"cannot be read ({error.strerror}); copy the whole run folder again"
                raise RunError(f"{path}: {reason}.") from None
        if digest != expected:
            raise RunError(f"{path}: was changed or damaged since the run (its digest differs); restore it or retrain.")
        return path


@contextlib.contextmanager
def blaming(path: Path, field: str = "", given: Collection[str] = ()) -> Iterator[None]:
    """Turn an error about an option into one that names the ``run.yaml`` which has it.

    Args:
        path: the run's folder.
        field: the setting that holds the option.
        given: names of options that are not from there.
    """
    try:
        yield
    except OptionError as error:
        if error.option in given:
            raise
        where = f"{field}." if field and error.option else ""
        file = Artefact(path / RUN_FILE, RunError, "make that possible, or train again")
        raise file.wrong(f"{where}{one_line(error).rstrip('.')}") from None


def read_run_file(path: Path) -> dict[str, Any]:
    """Return the content of a ``run.yaml``, of a finished run or another.

    Raises:
        RunError: it is missing, was changed since it was written, or has another format.
    """
    file = Artefact(path, RunError, _REMEDY)
    try:
        content = file.unseal(file.text(LARGEST_YAML))
    except FileNotFoundError:
        raise RunError(f"{path.parent}: no run folder (it has no {RUN_FILE}).") from None
    _check_format(file, content)
    told: dict[str, Any] = dict(file.check({name: content[name] for name in content if name not in FIELDS}, _RunFile))
    unknown = next((name for name in told if name not in NOT_SETTINGS), None)
    if unknown is not None or "record" not in told:
        raise file.wrong("record is missing" if unknown is None else f"{one_line(unknown)[:60]} {UNKNOWN}")
    try:
        # A run that declares no white was made before there was a choice.
        given = {"white": str(WHITE)} | {name: content[name] for name in content if name in FIELDS}
        settings = TrainSettings.parse(given)
    except OptionError as error:
        raise file.wrong(error.format_message().rstrip(".")) from None
    # As it is written: what happened comes last.
    record = told.pop("record")
    disagreement = _find_disagreement(settings, record)
    if disagreement:
        raise file.wrong(disagreement)
    return {**told, **settings.to_dict(), "record": record}


def _find_disagreement(settings: TrainSettings, record: Record) -> str:
    """Say which setting differs from what happened; nothing if none does, or the record does not say it."""
    if "weights" in record and parse_white(settings.white) is None:
        return f"white is {settings.white}, and a finished run says which value it was"
    for name in ("tiles", "image_size"):
        if "weights" in record and getattr(settings, name) == "auto":
            return f"{name} is auto, and a finished run says what was chosen"
    if "model" not in record:
        return ""
    if settings.model.rpartition("/")[2] != record["model"]:
        return f"model is '{one_line(settings.model)}', but record.model is '{one_line(record['model'])}'"
    if (settings.ignore is None) is ("ignore" in record):
        own, recorded = ("null", "is there") if settings.ignore is None else ("a file", "is missing")
        return f"ignore is {own}, but record.ignore {recorded}"
    # A run from before the record said the size has it in the settings alone.
    recorded_size = record.get("image_size")
    if recorded_size and settings.image_size and list(parse_size(settings.image_size)) != list(recorded_size):
        height, width = recorded_size
        return f"image_size is {settings.image_size}, but record.image_size is {height}x{width}"
    return ""


def _check_format(file: Artefact, content: Mapping[str, Any]) -> None:
    """Make sure that a ``run.yaml`` has the format of this version; raises :class:`RunError` that says what to do."""
    written = content.get("format", 0)
    if type(written) is not int:
        raise file.wrong("format is no whole number")
    if written > FORMAT:
        record = content.get("record")
        core = one_line(record["core"]) if isinstance(record, dict) and "core" in record else "a newer version"
        raise RunError(
            f"{file.path}: was written by adcli-core {core}, newer than this one; upgrade adcli-core to read it."
        )
    if written < FORMAT:
        again = quote("adcli", "train", "--config", file.path)
        raise RunError(
            f"{file.path}: was written by an earlier adcli-core, in a format that has changed; repeat it: {again}"
        )
