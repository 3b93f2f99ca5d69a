"""Verifying with master images that a run or an export says what it said: after an upgrade, or on a new machine."""

import json
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adcli import __version__
from adcli._artefacts import digest_of
from adcli._commands import find_distribution, quote
from adcli._files import file_digest, is_folder, write_atomically
from adcli._showing import count, cut, introduce, say_number
from adcli.data.folder import find_images
from adcli.data.framing import CODE_FILE, FRAMING_FILE, IGNORE_FILE, ignored_digest
from adcli.errors import DataError, StorageError, one_line
from adcli.exports.export import FITTED_FILE, Export
from adcli.pipeline._open import open_scorer
from adcli.progress import Progress, Silent
from adcli.runs.calibrations import now
from adcli.runs.find import check_name
from adcli.runs.masters import SUFFIX, WHOLE, Master, Masters, Scale
from adcli.runs.run import CALIBRATION_FILE, EXPORTS, RUN_FILE, Run
from adcli.scoring.calibration import Calibration
from adcli.scoring.prediction import Prediction
from adcli.scoring.scorer import Scorer
from adcli.scoring.thresholds import STEPS

TOLERANCE = 1e-3
"""How far a score may move, as a share of the range of good scores: what exporters allow a graph."""

_NOT_GRAPH = (CALIBRATION_FILE, FITTED_FILE, FRAMING_FILE, CODE_FILE, IGNORE_FILE)
"""Files of an export that say nothing of what its graph computes."""

_LIBRARIES = ("numpy", "scipy", "pillow")
_OF_RUNS = ("torch", "torchvision", "timm")
"""What computes scores beside the plugin and what that requires."""

_REQUIREMENT = re.compile(r"[A-Za-z0-9][\w.-]*")


class Difference(NamedTuple):
    """What is another than when the masters were recorded.

    Attributes:
        what: such as ``"threshold"`` or ``"framing.region"``.
        before, now: both, as plain values.
    """

    what: str
    before: Any
    now: Any

    def __repr__(self) -> str:
        return introduce(self, self.what, f"{cut(str(self.before), 30)} before, {cut(str(self.now), 30)} now")


class ChangedVerdict(NamedTuple):
    """A master image with another verdict than recorded.

    Attributes:
        image: its path in the folder of masters.
        before, now: the verdicts; of zones, with the names of those that are found defective.
        score_before, score: its scores; ``score`` is None if it cannot be read.
        problem: why it cannot be read; empty if it can.
    """

    image: str
    before: str
    now: str
    score_before: float
    score: float | None
    problem: str = ""

    def __repr__(self) -> str:
        return introduce(self, self.image, f"{self.before} before, {self.now} now", say_number("score", self.score))


class LargestDifference(NamedTuple):
    """The largest difference of a score, relative to the range of good scores.

    Attributes:
        image: the master image.
        zone: the zone whose score it is; empty for the photograph's.
        difference: as it is.
        relative: as a share of the range of good scores.
        to_threshold: how far the recorded score of the photograph was from the threshold; None without one, or of a
            zone.
    """

    image: str
    zone: str
    difference: float
    relative: float
    to_threshold: float | None

    def __repr__(self) -> str:
        zone = self.zone and f"zone {self.zone}"
        return introduce(self, self.image, zone, f"{self.difference:.3g}", f"{self.relative:.2%} of the range")


@dataclass(frozen=True)
class Verification:
    """What became of the verdicts and scores of master images.

    Attributes:
        name: of the run or the export in the masters' folder.
        file: the masters' file.
        recorded: when it was recorded, UTC.
        images: master images that were compared.
        tolerance: what scores may differ by, as a share of the range of good scores.
        changed: those with another verdict.
        largest: the largest difference of a score; None if nothing could be compared.
        moved: images whose scores differ by more than the tolerance.
        missing: recorded images that are not there.
        altered: recorded images whose files were changed.
        extra: images that are there and not recorded.
        differences: what is another in the run or the export itself.
        versions: what is another in the software and the machine.
    """

    name: str
    file: Path
    recorded: str
    images: int
    tolerance: float
    changed: Sequence[ChangedVerdict]
    largest: LargestDifference | None
    moved: Sequence[str]
    missing: Sequence[str]
    altered: Sequence[str]
    extra: Sequence[str]
    differences: Sequence[Difference]
    versions: Sequence[Difference]

    def __repr__(self) -> str:
        counts = {
            "verdicts changed": self.changed,
            "scores moved": self.moved,
            "missing": self.missing,
            "altered": self.altered,
        }
        found = [f"{len(images)} {what}" for what, images in counts.items() if images]
        return introduce(self, self.name, count(self.images, "image"), *(found or ["nothing changed"]))

    @property
    def is_equal(self) -> bool:
        """Tell whether no verdict changed and no score moved beyond the tolerance, of what could be compared."""
        return not self.changed and not self.moved

    @property
    def is_complete(self) -> bool:
        """Tell whether every recorded image could be compared."""
        return not self.missing and not self.altered

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            **asdict(self),
            "file": str(self.file),
            "changed": [one._asdict() for one in self.changed],
            "largest": None if self.largest is None else self.largest._asdict(),
            "differences": [one._asdict() for one in self.differences],
            "versions": [one._asdict() for one in self.versions],
        }


class _Place(NamedTuple):
    """Where the masters of a run or an export are.

    Attributes:
        name: of the run or the export among those that have masters.
        folder: their images.
        file: what was said of them.
        images: the images by their paths in the folder.
    """

    name: str
    folder: Path
    file: Path
    images: Mapping[str, Path]


def record_masters(
    opened: Run | Export,
    data: str | Path,
    *,
    name: str | None = None,
    force: bool = False,
    scorer: Scorer | None = None,
    progress: Progress | None = None,
) -> Path:
    """Score master images, write down what a run or an export says of them, and return the file.

    Args:
        opened: a finished run, or an export.
        data: the folder of masters, as :func:`verify` takes it.
        name: see :func:`verify`.
        force: replace what was recorded before.
        scorer: of ``opened``, if other than the default device, batch size or threads are wanted.
        progress: receives progress and notes.

    Raises:
        DataError: there are no images, or one cannot be read.
        StorageError: they were recorded before, or cannot be written.
    """
    progress, place = progress or Silent(), _find_place(opened, Path(data), name)
    if os.path.lexists(place.file) and not force:
        raise StorageError(f"{place.file}: exists already; verify with it, or record again with --record --force.")
    if not place.images:
        raise DataError(_say_lack(place, Path(data)))
    scorer = scorer or open_scorer(opened)
    said = progress.track(scorer(place.images.values()), len(place.images), "recording")
    images = [_keep(image, prediction) for image, prediction in zip(place.images, said, strict=True)]
    scales = _find_scales(opened.calibration, images)
    masters = Masters(place.name, now(), _describe(opened), _list_versions(opened), scales, images)
    _note_doubts(masters, opened.calibration, progress)
    write_atomically(place.file, masters.to_json())
    return place.file


def verify(
    opened: Run | Export,
    data: str | Path,
    *,
    name: str | None = None,
    tolerance: float = TOLERANCE,
    scorer: Scorer | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Score master images again, and compare verdicts and scores with what :func:`record_masters` wrote.

    The folder of masters has a folder for each run or export by its name, with its images; or it has images itself, for
    all. Of an export that lies in a run, the name is ``RUN.EXPORT``, and the folder may be that of the run.

    Args:
        opened: a finished run, or an export.
        data: the folder of masters.
        name: whose masters these are; its own when None.
        tolerance: how far a score may move, as a share of the range of good scores.
        scorer: of ``opened``, if other than the default device, batch size or threads are wanted.
        progress: receives progress.

    Raises:
        DataError: nothing is recorded under that name, or the file cannot be trusted.
    """
    progress, place = progress or Silent(), _find_place(opened, Path(data), name)
    masters = _read(place, opened, Path(data), name)
    pairs, missing, extra = _match(masters.images, place)
    comparing = _Comparing(masters, opened.calibration, tolerance)
    scorer = scorer or open_scorer(opened)
    said = progress.track(scorer(path for path, _ in pairs), len(pairs), "verifying")
    for (path, master), prediction in zip(pairs, said, strict=True):
        comparing.take(path, master, prediction)
    return Verification(
        place.name,
        place.file,
        masters.time,
        len(pairs) - len(comparing.altered),
        tolerance,
        comparing.changed,
        comparing.largest,
        comparing.moved,
        missing,
        comparing.altered,
        extra,
        list(_compare(masters.subject, _describe(opened))),
        list(_compare(masters.versions, _list_versions(opened))),
    )


def _find_place(opened: Run | Export, data: Path, name: str | None) -> _Place:
    """Return where the masters are; raises :class:`DataError` if a folder cannot be read."""
    own, run = _name(opened)
    name = own if name is None else check_name(name, "--name")
    folders = (data / name, *((data / run,) if run else ()))
    folder = next((folder for folder in folders if is_folder(folder)), data)
    images = find_images(folder)
    if folder == data and data.resolve().name not in (name, run):
        # Folders in it belong to others.
        images = [image for image in images if image.parent == data]
    return _Place(
        name, folder, folder / f"{name}{SUFFIX}", {image.relative_to(folder).as_posix(): image for image in images}
    )


def _name(opened: Run | Export) -> tuple[str, str]:
    """Return the name of a run or an export, and for an export in a run that of the run."""
    real = opened.path.resolve()
    run = real.parent.parent
    if isinstance(opened, Export) and real.parent.name == EXPORTS and (run / RUN_FILE).is_file():
        return f"{run.name}.{real.name}", run.name
    return real.name, ""


def _say_lack(place: _Place, data: Path) -> str:
    words = "no images in this folder" if place.folder != data else "no images directly in this folder"
    own = "" if place.folder != data else f", nor a folder '{one_line(place.name)}' with some"
    return f"{place.folder}: {words}{own}; put the master images there."


def _read(place: _Place, opened: Run | Export, data: Path, name: str | None) -> Masters:
    try:
        return Masters.read(place.file)
    except FileNotFoundError:
        named = () if name is None else ("--name", name)
        command = quote("adcli", "verify", opened.path, "--data", data, *named, "--record")
        raise DataError(f"{place.file}: nothing is recorded of '{place.name}'; record it: {command}") from None


def _match(recorded: Sequence[Master], place: _Place) -> tuple[list[tuple[Path, Master]], Sequence[str], Sequence[str]]:
    """Return the images with what is recorded of them, and the names of those missing and not recorded.

    One that only has another name is found by its content.
    """
    pairs = [(place.images[master.image], master) for master in recorded if master.image in place.images]
    missing = {master.image: master for master in recorded if master.image not in place.images}
    extra = list(place.images.keys() - {master.image for master in recorded})
    for image in sorted(extra) if missing else ():
        digest = _digest(place.images[image])
        found = next((master for master in missing.values() if master.digest == digest), None)
        if found is not None:
            pairs.append((place.images[image], missing.pop(found.image)))
            extra.remove(image)
    return pairs, list(missing), sorted(extra)


def _digest(path: Path) -> str:
    """Return the digest of a file; nothing if it cannot be read."""
    try:
        return file_digest(path)
    except OSError:
        return ""


def _keep(image: str, prediction: Prediction) -> Master:
    """Return what is recorded of a master image; raises :class:`DataError` if it cannot be read."""
    if prediction.problem:
        raise DataError(f"{prediction.problem.rstrip('.')}; a master image must be readable: replace it.")
    return Master(
        image,
        prediction.digest,
        prediction.score,
        _name_zones(prediction),
        prediction.verdict,  # type: ignore[arg-type]
        ", ".join(prediction.zones),
    )


def _name_zones(prediction: Prediction) -> dict[str, float]:
    names = [zone.name for zone in prediction.framing.zones]
    return dict(zip(names, prediction.zone_scores, strict=True)) if prediction.zone_scores else {}


def _find_scales(calibration: Calibration, images: Sequence[Master]) -> dict[str, Scale]:
    """Return what differences are measured by: of the photograph, and of each zone that was scored."""
    zones = list(images[0].zone_scores)
    scales = {WHOLE: _find_scale(calibration.image_scores, calibration.rounding[0], [one.score for one in images])}
    for name in zones:
        scored = [one.zone_scores[name] for one in images]
        kept = calibration.zones.get(name)
        scales[name] = _find_scale(kept.image_scores if kept else (), kept.rounding[0] if kept else 0.0, scored)
    return scales


def _find_scale(good: Sequence[float], rounding: float, scored: Sequence[float]) -> Scale:
    """Return the range of good scores; of the masters' if that is nothing, and of their amount if that is nothing."""
    largest = max(map(abs, scored))
    found = float(np.ptp(good)) if good else 0.0
    return Scale(found or float(np.ptp(scored)) or largest or 1.0, max(rounding, STEPS * largest))


def _note_doubts(masters: Masters, calibration: Calibration, progress: Progress) -> None:
    """Warn of masters that cannot tell much."""
    threshold = calibration.image_threshold
    if threshold is None:
        progress.note(f"warning: {masters.name}: has no threshold, so that scores are recorded and no verdicts")
        return
    scale = masters.scales[WHOLE]
    near = [one.image for one in masters.images if scale.allows(abs(one.score - threshold), TOLERANCE)]
    if near:
        progress.note(
            f"warning: {masters.name}: {_enumerate(near)} so close to the threshold that rounding may change the "
            "verdict; choose others"
        )
    verdicts = {one.verdict for one in masters.images}
    if len(verdicts) == 1:
        progress.note(
            f"warning: {masters.name}: every master image is found {verdicts.pop()}; masters of both kinds tell more"
        )


def _enumerate(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(map(one_line, names[:3]))}{more} {'is' if len(names) == 1 else 'are'}"


class _Comparing:
    """Collects how what is said of master images differs from what was.

    Args:
        masters: what was said.
        calibration: the one in force.
        tolerance: how far a score may move, as a share of the range of good scores.
    """

    def __init__(self, masters: Masters, calibration: Calibration, tolerance: float) -> None:
        self.masters, self.calibration, self.tolerance = masters, calibration, tolerance
        self.changed: list[ChangedVerdict] = []
        self.moved: list[str] = []
        self.altered: list[str] = []
        self.largest: LargestDifference | None = None

    def take(self, path: Path, master: Master, prediction: Prediction) -> None:
        """Compare what is said of an image, if it is the one that was recorded."""
        if (prediction.digest or _digest(path)) != master.digest:
            self.altered.append(master.image)
            return
        before, now = _in_words(master.verdict, master.zone), _in_words(prediction.verdict, ", ".join(prediction.zones))
        if before != now:
            score = None if prediction.problem else prediction.score
            changed = ChangedVerdict(master.image, before, now, master.score, score, prediction.problem)
            self.changed.append(changed)
        if not prediction.problem:
            self._compare_scores(master, prediction)

    def _compare_scores(self, master: Master, prediction: Prediction) -> None:
        found, recorded = {WHOLE: prediction.score}, {WHOLE: master.score}
        zones = _name_zones(prediction)
        if zones and zones.keys() == master.zone_scores.keys():
            # A photograph's own score says where these stand, which another calibration changes.
            found, recorded = zones, dict(master.zone_scores)
        differences = {name: abs(found[name] - recorded[name]) for name in found}
        scales = self.masters.scales
        if not all(scales[name].allows(value, self.tolerance) for name, value in differences.items()):
            self.moved.append(master.image)
        name = max(differences, key=lambda name: differences[name] / scales[name].range)
        relative = differences[name] / scales[name].range
        if self.largest is None or relative > self.largest.relative:
            threshold = self.masters.subject.get("threshold") if name == WHOLE else None
            distance = abs(master.score - threshold) if isinstance(threshold, (int, float)) else None
            self.largest = LargestDifference(master.image, name, differences[name], relative, distance)


def _in_words(verdict: str, zones: str) -> str:
    return f"{verdict or 'none'} ({zones})" if zones else verdict or "none"


def _describe(opened: Run | Export) -> dict[str, Any]:
    """Return what tells a run or an export from others, as plain values."""
    framing, calibration = opened.framing, opened.calibration
    described = framing.describe(opened.image_size)
    if framing.ignored is not None:
        described["ignore"] = ignored_digest(framing.ignored)
    size = described.pop("image_size")
    plain: dict[str, Any] = json.loads(
        json.dumps(
            {
                "kind": "export" if isinstance(opened, Export) else "run",
                "run": opened.origin.run,
                "weights": opened.origin.model,
                "graph": _digest_graph(opened),
                "calibration": calibration.digest,
                "threshold": calibration.image_threshold,
                "pixel_threshold": calibration.pixel_threshold,
                "parts": None if calibration.parts is None else asdict(calibration.parts),
                "image_size": size,
                "framing": described,
            }
        )
    )
    return plain


def _digest_graph(opened: Run | Export) -> str | None:
    """Return what tells the files of an export's graph from others; None for a run."""
    if isinstance(opened, Run):
        return None
    return digest_of({name: digest for name, digest in opened.manifest["files"].items() if name not in _NOT_GRAPH})


def _list_versions(opened: Run | Export) -> dict[str, str]:
    """Return the versions of what computes scores: the core, Python, libraries, the plugin, and what that requires."""
    maker = opened.manifest if isinstance(opened, Export) else opened.record
    plugin = str(maker["plugin"]["distribution"])
    names = [*_LIBRARIES, *(_OF_RUNS if isinstance(opened, Run) else ()), plugin, *_list_requirements(plugin)]
    found = {name: find_distribution(name) for name in names}
    versions = {name: one.version for name, one in found.items() if one is not None}
    machine = f"{platform.system()} {platform.machine()}"
    return {"adcli-core": __version__, "python": platform.python_version(), "machine": machine} | versions


def _list_requirements(plugin: str) -> Iterator[str]:
    """Yield the names of what a plugin requires, extras left out."""
    found = find_distribution(plugin)
    for line in (found and found.requires) or ():
        name = _REQUIREMENT.match(line)
        if name and "extra ==" not in line and not name[0].startswith("adcli"):
            yield name[0]


def _compare(before: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> Iterator[Difference]:
    """Yield what differs of what both say."""
    for name in before:
        if name not in now or before[name] == now[name]:
            continue
        if name == "framing" and isinstance(before[name], dict):
            yield from _compare(before[name], now[name], "framing.")
        else:
            yield Difference(f"{within}{name}", before[name], now[name])
