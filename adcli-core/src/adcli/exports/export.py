"""The exported folder and what runs it: what an exporter is given, what it returns, and how the result is opened.

Nothing here imports torch: a machine that only runs exported models has none.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

from adcli._artefacts import Artefact
from adcli._artefacts.declaring import Confidence, Digest, FileName, Positive, Rate, Side
from adcli._artefacts.parsing import LARGEST_YAML
from adcli._changes import inside, noticing_removal, settle
from adcli._commands import quote
from adcli._files import LARGEST, file_digest, is_text, named
from adcli._plugins.registry import Provided, registry
from adcli._showing import introduce, say_threshold
from adcli.data.framing import FRAMING_FILE, IGNORE_FILE, PLAIN, Framing, read_framing
from adcli.errors import AdcliError, DataError, ExportError, OptionError, RunError, one_line
from adcli.exports.devices import compare_first
from adcli.runs.calibrations import list_files as list_calibrations
from adcli.runs.calibrations import say_repair
from adcli.runs.run import CALIBRATION_FILE, Maker, Run
from adcli.scoring.calibration import Calibration

if TYPE_CHECKING:
    from adcli.nn.model import Model
from adcli.data.decoding import Pixels, Size
from adcli.scoring.opened import Origin
from adcli.scoring.runtime import ImageBatch, Runtime, Scored, guarded
from adcli.specs import ExporterSpec, Task

FORMAT = 3
"""2: the calibration holds the colours of maps; 3: the names and digests of its images, and a number."""

MANIFEST_FILE = "manifest.yaml"

FITTED_FILE = "fitted.txt"
"""Digests of the images that the model was fitted to, one a line: they must not set its threshold."""

_REMEDY = "the export was changed by hand or damaged; copy it again, or export the run again"


class _MadeFrom(TypedDict):
    name: str
    weights: Digest
    calibration: str
    learnt_from: NotRequired[Literal["grey", "colours", ""]]


class _Graph(TypedDict):
    file: FileName
    tolerance: Positive
    auroc_drop: NotRequired[Positive | None]


class _Summary(TypedDict):
    rate: Rate
    confidence: NotRequired[Confidence]


class _Measured(TypedDict):
    range: Positive


class _Manifest(TypedDict):
    """What ``manifest.yaml`` holds, as far as a command looks at it."""

    core: NotRequired[str]
    exporter: str
    plugin: Maker
    run: _MadeFrom
    task: Task
    image_size: tuple[Side, Side]
    graph: _Graph
    measured: NotRequired[_Measured]
    calibration: NotRequired[_Summary]
    files: dict[FileName, Digest]


class _Listed(TypedDict):
    """What is asked of a manifest, whatever state it is in."""

    files: dict[FileName, Any]


@dataclass(frozen=True)
class ExportSource:
    """What an exporter turns into a graph.

    Attributes:
        run: the finished run.
        model: its model, restored, in evaluation mode, on the CPU; ``forward`` takes (N, 3, H, W), RGB in [0, 1].
        task: ``"segmentation"`` if the model has maps, else ``"classification"``.
        image_size: height and width that ``model`` takes; the graph resizes to it as :mod:`adcli.data.decoding` does.
        calibration_images: gives good images as the graph gets them, (H, W, 3) uint8, each of its own size; for
            formats that quantise. That is as they are in their files, but for what the run's preparation leaves out.
    """

    run: "Run"
    model: "Model"
    task: Task
    image_size: tuple[int, int]
    calibration_images: Callable[[], Iterable[Pixels]]

    def __repr__(self) -> str:
        height, width = self.image_size
        return introduce(self, self.run.path, self.task, f"{width}x{height} pixels")

    @property
    def name(self) -> str:
        """The run's name in letters, digits, ``-``, ``_`` and ``.``, for files and the model names of servers."""
        return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in self.run.name)


@dataclass(frozen=True)
class Export:
    """A finished exported folder.

    Attributes:
        path: the folder.
        manifest: the content of its ``manifest.yaml``.
        calibration: threshold and p-values, from scores of the exported graph.
    """

    path: Path
    manifest: Mapping[str, Any]
    calibration: Calibration

    def __repr__(self) -> str:
        made = str(self.manifest.get("exporter", ""))
        return introduce(self, self.path, made, say_threshold(self.calibration.image_threshold))

    @classmethod
    def open(cls, path: Path, *, repairing: bool = False) -> "Export":
        """Read an exported folder and compare every file with its digest.

        Args:
            path: the folder.
            repairing: take an export without verdicts if its calibration is damaged.

        Raises:
            ExportError: a file is missing or was changed since, or a newer core wrote the folder.
        """
        path = named(path)
        if not is_text(path.absolute()):
            raise ExportError(f"{path}: what runs graphs opens no folder whose name is not UTF-8; rename it.")
        manifest = _read_manifest(inside(path, MANIFEST_FILE, ExportError))
        for name, digest in manifest["files"].items():
            if name != CALIBRATION_FILE:
                _check_file(inside(path, name, ExportError), digest)
        try:
            _check_file(inside(path, CALIBRATION_FILE, ExportError), manifest["files"][CALIBRATION_FILE])
        except ExportError as error:
            if repairing:
                return cls(path, manifest, Calibration.none())
            repair = say_repair(path, manifest["run"]["weights"])
            raise ExportError(f"{error.message.rstrip('.')}; or {repair}") from None
        try:
            text = _read(path / CALIBRATION_FILE)
            calibration = Calibration.from_json(text, source=path / CALIBRATION_FILE)
            _check_summary(path, manifest, calibration)
            return cls(path, manifest, calibration)
        except RunError as error:
            if repairing:
                return cls(path, manifest, Calibration.none())
            repair = say_repair(path, manifest["run"]["weights"])
            raise ExportError(f"{error.message.rstrip('.')}; {repair}") from None

    @property
    def origin(self) -> Origin:
        """What verdicts of this export are traced back to: the run that it was made from."""
        made_from = self.manifest["run"]
        return Origin(made_from["name"], made_from["weights"], made_from.get("learnt_from", ""))

    @property
    def fitted(self) -> frozenset[str]:
        """Digests of the images that the model was fitted to."""
        path = self.path / FITTED_FILE
        digests = _read(path).split()
        if not all(map(_DIGEST.fullmatch, digests)):
            raise Artefact(path, ExportError, _REMEDY).wrong("has a line that is no sha256")
        return frozenset(digests)

    def find_newer_calibration(self) -> str:
        """Say whether the run that the folder lies in was calibrated since; nothing if not, or if it lies in none."""
        beside = self.path.absolute().parent.parent
        try:
            run = Run.open(beside)
        except AdcliError:
            return ""
        made = self.manifest["run"]
        if run.record["weights"] != made["weights"] or run.calibration.digest == made["calibration"]:
            return ""
        values = (it.calibration.image_threshold for it in (run, self))
        new, own = ("none" if value is None else f"{value:.6g}" for value in values)
        again = quote("adcli", "export", beside, "--to", self.manifest["exporter"], "--out", self.path, "--force")
        return (
            f"{self.path}: its run was calibrated since this export was made: the run's threshold is {new}, the "
            f"export's {own}; calibrate the export as well, or export again: {again}"
        )

    @property
    def image_size(self) -> Size:
        """Height and width of the model's input."""
        height, width = self.manifest["image_size"]
        return height, width

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the exporter's ``target`` returned when the folder was made."""
        facts: Mapping[str, Any] = self.manifest["graph"]
        return facts

    @property
    def framing(self) -> Framing:
        """What is done to images before the graph gets them."""
        if FRAMING_FILE not in self.manifest["files"]:
            return PLAIN
        for name in (FRAMING_FILE, IGNORE_FILE):
            inside(self.path, name, ExportError)
        try:
            return read_framing(self.path, self.image_size, f"image_size of {MANIFEST_FILE}")
        except DataError as error:
            raise ExportError(f"{error.message.rstrip('.')}; {_REMEDY}.") from None

    def runtime(self, device: str = "auto") -> Runtime:
        """Load what scores images with the graph; only the plugin that made the export is needed.

        Args:
            device: ``auto`` and ``cpu``, or another one that the exporter knows, whose scores are compared with those
                of the CPU (:mod:`adcli.exports.devices`).

        Raises:
            OptionError: a device that the exporter does not know.
            PluginError: that plugin is missing or incompatible, or fails to load or run the graph.
            RunError: another command has replaced or removed the export since it was opened.
        """
        provided = registry().exporters.find_maker(self.manifest["exporter"], self.manifest["plugin"], self.path)
        known = ("cpu", *provided.spec.devices)
        device = "cpu" if device == "auto" else device
        if device not in known:
            raise OptionError(
                f"{device}: an export to {provided.spec.name} runs on {' or '.join(known)}.", option="--device"
            )
        runtime = self._load(provided, device)
        if device == "cpu":
            return runtime
        return compare_first(runtime, lambda: self._load(provided, "cpu"), device, self)

    def _load(self, provided: Provided[ExporterSpec], device: str) -> Runtime:
        with noticing_removal(self.path, MANIFEST_FILE):
            runtime = load_runtime(provided, self, device, f"{self.path}: {provided.plugin}")
            self._check_same()
        return self._checking_maps(runtime)

    def _checking_maps(self, runtime: Runtime) -> Runtime:
        """Return a runtime that refuses maps of another size than the manifest's, which images are resized to."""

        def score(images: ImageBatch) -> Scored:
            scores, maps = runtime(images)
            if maps is not None and maps.shape[1:] != self.image_size:
                said, found = ("x".join(map(str, size)) for size in (self.image_size, maps.shape[1:]))
                file = Artefact(self.path / MANIFEST_FILE, ExportError, _REMEDY)
                raise file.wrong(f"image_size is {said}, but maps of {one_line(self.facts['file'])} are {found}")
            return scores, maps

        return score

    def _check_same(self) -> None:
        """Make sure that what was loaded belongs to what was read before, the threshold above all."""
        settle(self.path)
        if _read_manifest(inside(self.path, MANIFEST_FILE, ExportError)) != self.manifest:
            raise RunError(f"{self.path}: was replaced or calibrated a moment ago; give the command again.")


def load_runtime(provided: Provided[ExporterSpec], export: Export, device: str, who: str) -> Runtime:
    """Have an exporter load what it wrote; failures are one line that begins with ``who``."""
    load = provided.load(provided.spec.runtime)
    words = (device,) if provided.spec.devices else ()
    return guarded(lambda: load(export, *words), who, provided.spec.runtime)


def list_files(path: Path) -> list[str]:
    """Return the names of the files that an exported folder is made of, whatever state they are in.

    Raises:
        ExportError: it is no exported folder, or its manifest is damaged.
    """
    file = Artefact(inside(path, MANIFEST_FILE, ExportError), ExportError, "choose another folder")
    try:
        manifest = file.check(file.unseal(file.text(LARGEST_YAML)), _Listed)
    except FileNotFoundError:
        raise ExportError(f"{path}: is no export that could be replaced; choose another folder.") from None
    return [MANIFEST_FILE, *manifest["files"], *list_calibrations(path)]


_DIGEST = re.compile(r"[0-9a-f]{64}")


def _read(path: Path, largest: int = LARGEST) -> str:
    try:
        return Artefact(path, ExportError).text(largest)
    except FileNotFoundError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror}).") from None


def _read_manifest(path: Path) -> Mapping[str, Any]:
    file = Artefact(path, ExportError, _REMEDY)
    content = file.unseal(_read(path, LARGEST_YAML))
    written = content.get("format", 0)
    if type(written) is not int:
        raise file.wrong("format is no whole number")
    if written > FORMAT:
        core = one_line(content.get("core", "a newer version"))
        raise ExportError(f"{path}: was written by adcli-core {core}, newer than this one; upgrade adcli-core.")
    if written < FORMAT:
        raise ExportError(
            f"{path}: was written by an earlier adcli-core, in a format that has changed; export it again."
        )
    manifest = file.check(content, _Manifest)
    missing = {CALIBRATION_FILE, FITTED_FILE, manifest["graph"]["file"]} - manifest["files"].keys()
    if missing:
        raise file.wrong(f"files does not list {one_line(min(missing))}")
    return manifest


def summarise(calibration: Calibration) -> dict[str, Any]:
    """Return what a manifest says of a calibration, for those who read the graph without adcli."""
    return {
        "calibration": {
            "method": calibration.method,
            "images": calibration.n,
            "rate": calibration.rate,
            "achievable_rate": calibration.achievable_rate,
            **({"confidence": calibration.confidence} if calibration.confidence else {}),
            "scored_by": "run" if calibration.chosen_by == "k-fold" else "export",
        },
        "map_range": list(calibration.map_range),
        "thresholds": {"image": calibration.image_threshold, "pixel": calibration.pixel_threshold},
    }


def _check_summary(path: Path, manifest: Mapping[str, Any], calibration: Calibration) -> None:
    """Make sure that a manifest says of a calibration what its file says; raises :class:`RunError` if not."""
    stated = {name: manifest[name] == value for name, value in summarise(calibration).items() if name in manifest}
    stated["run.weights"] = calibration.weights in ("", manifest["run"]["weights"])
    wrong = [name for name, same in stated.items() if not same]
    if wrong:
        raise Artefact(path / MANIFEST_FILE, RunError).wrong(f"{wrong[0]} is not what {CALIBRATION_FILE} says")


def _check_file(path: Path, digest: str) -> None:
    try:
        found = file_digest(path)
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror}); copy the whole exported folder again.") from None
    if found != digest:
        raise ExportError(
            f"{path}: is not the file that was exported (its digest differs); copy the folder again, or export anew."
        )
