"""The run folder: written under ``.partial``, renamed when complete, verified when read."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adcli.runs.calibrations import CALIBRATION_FILE as CALIBRATION_FILE
from adcli.runs.calibrations import open_calibration
from adcli.scoring.calibration import Calibration
from adcli.scoring.opened import Origin
from adcli.scoring.runtime import Runtime

if TYPE_CHECKING:
    from adcli.nn.model import Model
from adcli._changes import inside
from adcli._commands import quote
from adcli._files import file_digest, named, read_state, unseal
from adcli._locking import open_regular
from adcli._process.imports import without_collection
from adcli.data.decoding import Size
from adcli.data.framing import IGNORE_FILE, Flags, Framing, ignored_digest, parse_framing, parse_size, read_ignored
from adcli.errors import DataError, RunError, needing_torch, printable

FORMAT = 3
"""2: the calibration holds the colours of maps; 3: the names and digests of its images, and a number."""

PARTIAL = ".partial"
RUN_FILE = "run.yaml"
WEIGHTS_FILE = "model.safetensors"
NOTE_FILE = "note.txt"
EXPORTS = "exports"

MAX_NOTE = 2000
"""Characters of a note, at most."""


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        path: its folder.
        settings: the settings of :class:`adcli.pipeline.train_settings.TrainSettings`, complete, as plain values.
        record: what happened: versions, digests, counts, timings.
        calibration: threshold and p-values.
    """

    path: Path
    settings: Mapping[str, Any]
    record: Mapping[str, Any]
    calibration: Calibration

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
        content = read_run_file(inside(path, RUN_FILE))
        if "weights" not in content.get("record", {}):
            command = quote("adcli", "train", "--resume", path)
            raise RunError(f"{path}: the run was not finished; continue it: {command}")
        settings = {key: value for key, value in content.items() if key not in ("format", "record", "digest")}
        return cls(path, settings, content["record"], open_calibration(path, content["record"]["weights"], repairing))

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
        return Origin(self.name, str(self.record.get("weights", "")))

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
        # A run.yaml that was written by hand may leave out what it does not need.
        region, crop, fit = (self.settings.get(name) for name in ("region", "crop", "fit"))
        ignored = self._read_ignored() if self.settings.get("ignore") else None
        return parse_framing(region, crop, fit or "squash", ignored)

    def _read_ignored(self) -> Flags:
        path = inside(self.path, IGNORE_FILE)
        try:
            ignored = read_ignored(path)
        except DataError as error:
            raise RunError(f"{error.message.rstrip('.')}; {self._say_remedy()}") from None
        if ignored_digest(ignored) != self.record["ignore"]:
            raise RunError(f"{path}: was changed or damaged since the run (its pixels differ); restore it or retrain.")
        return ignored

    def _say_remedy(self) -> str:
        if not (self.path / RUN_FILE).exists():
            return "the run is gone: another command has removed or renamed it meanwhile."
        return "copy the whole run folder again."

    def restore(self) -> "Model":
        """Return the run's model on the CPU, in evaluation mode; nothing is downloaded and nothing unpickled.

        Raises:
            RunError: the weights are damaged or do not fit.
            PluginError: the model's plugin is missing or incompatible, or torch is not installed.
        """
        with needing_torch(), without_collection():
            from adcli.nn.restoring import restore_model
        made, by = self.record["model"], self.record["plugin"]
        return restore_model(made, by, self.settings["options"], self.image_size, self.verified_weights, self.path)

    def runtime(self, device: str = "auto") -> Runtime:
        """Load the model onto a device, ready to score; raises as :meth:`restore`."""
        with needing_torch(), without_collection():
            from adcli.nn.runtime import ModelRuntime
        return ModelRuntime.on(self.restore(), device)

    def verified_weights(self) -> Path:
        """Return the path of the weights after comparing them with their digest."""
        path = inside(self.path, WEIGHTS_FILE)
        try:
            digest = file_digest(path)
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror}); {self._say_remedy()}") from None
        if digest != self.record["weights"]:
            raise RunError(f"{path}: was changed or damaged since the run (its digest differs); restore it or retrain.")
        return path


def read_run_file(path: Path) -> dict[str, Any]:
    """Return the content of a ``run.yaml``, of a finished run or another.

    Raises:
        RunError: it is missing, was changed since it was written, or has another format.
    """
    try:
        text = read_state(path)
    except FileNotFoundError:
        raise RunError(f"{path.parent}: no run folder (it has no {RUN_FILE}).") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}).") from None
    content = unseal(text, path)
    if content.get("format", 0) > FORMAT:
        core = content.get("record", {}).get("core", "a newer version")
        raise RunError(f"{path}: was written by adcli-core {core}, newer than this one; upgrade adcli-core to read it.")
    if content.get("format", 0) < FORMAT:
        again = quote("adcli", "train", "--config", path)
        raise RunError(
            f"{path}: was written by an earlier adcli-core, in a format that has changed; repeat it: {again}"
        )
    return content
