"""The calibration of a run or an export, and every one that it ever had: ``calibrations/NNNN.json``."""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from adcli._artefacts import Artefact, digest_of
from adcli._artefacts.declaring import Count, Ordinal, Time, closed
from adcli._artefacts.parsing import parse_json
from adcli._changes import inside
from adcli._commands import quote
from adcli._files import LARGEST
from adcli._showing import introduce, say_threshold
from adcli.errors import RunError
from adcli.scoring.audits import Audit, StoredAudit
from adcli.scoring.calibration import Calibration, make_calibration

CALIBRATION_FILE = "calibration.json"
FOLDER = "calibrations"
FORMAT = 1
_NUMBER = re.compile(r"[0-9]{4}|[1-9][0-9]{4,8}")
_PICTURE = re.compile(rf"({_NUMBER.pattern})(-[1-9])?")


@closed
class _Stored(TypedDict):
    """What ``calibrations/NNNN.json`` holds."""

    format: Ordinal
    number: Count
    time: Time
    command: str
    data: str
    left_out: dict[str, Count]
    tested: Count
    replaced: Ordinal | None
    restores: Ordinal | None
    undoes: NotRequired[bool]
    audits: NotRequired[list[StoredAudit]]
    calibration: dict[str, Any]
    digest: str


@dataclass(frozen=True)
class KeptCalibration:
    """A calibration of a run or an export, and how it came about.

    Attributes:
        calibration: it, with its number.
        time: UTC, as ISO 8601.
        command: what was typed; empty if nothing was.
        data: where its good images came from, as ``--data`` names it; empty if they are those of the one before.
        left_out: number of images that were not let calibrate, by reason.
        tested: number of the images that set it which are test images of the run.
        replaced: number of the calibration that was in force until then; None for the first.
        restores: number of the calibration that it brings back; None if it is a new one.
        undoes: whether it takes back a step, so that the next ``--undo`` takes back the one before.
        audits: what the parts of ``--audit`` say of thresholds: of the one in force until then, and of the new one.
    """

    calibration: Calibration
    time: str
    command: str = ""
    data: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    tested: int = 0
    replaced: int | None = None
    restores: int | None = None
    undoes: bool = False
    audits: Sequence[Audit] = ()

    def __repr__(self) -> str:
        threshold = say_threshold(self.calibration.image_threshold)
        return introduce(self, self.number, self.calibration.method, threshold, self.time)

    @property
    def number(self) -> int:
        """Its number; they count from 1."""
        return self.calibration.number

    def doubt(self) -> str:
        """Say that test images set the threshold; nothing if none did."""
        if not self.tested:
            return ""
        images = max(len(self.calibration.scored_digests), self.calibration.n)
        some = f"{self.tested} of {images}" if self.calibration.keeps_a_rate else f"{self.tested}"
        return (
            f"{some} images that set the threshold are the run's test images: its evaluation no longer says what new "
            "images would show"
        )

    def to_json(self) -> str:
        """Return JSON that ends with its own digest."""
        content = self.to_dict()
        return json.dumps({**content, "digest": digest_of(content)}, indent=1) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "format": FORMAT,
            "number": self.number,
            "time": self.time,
            "command": self.command,
            "data": self.data,
            "left_out": dict(self.left_out),
            "tested": self.tested,
            "replaced": self.replaced,
            "restores": self.restores,
            "undoes": self.undoes,
            **({"audits": [audit.to_dict() for audit in self.audits]} if self.audits else {}),
            "calibration": json.loads(self.calibration.to_json()),
        }

    @classmethod
    def from_json(cls, text: str, source: Path) -> "KeptCalibration":
        """Read what :meth:`to_json` wrote.

        Raises:
            RunError: it was changed since, or is none, and the message names ``source`` and the field.
        """
        file = Artefact(source, RunError, "copy it from where the run is whole, or remove it")
        content = file.parse(parse_json, text)
        file.check_digest(content)
        stored = file.check(content, _Stored)
        if stored["format"] > FORMAT:
            raise file.wrong("was written by a newer adcli-core; upgrade adcli-core")
        calibration = make_calibration(stored["calibration"], file)
        if stored["number"] != calibration.number:
            raise file.wrong(f"number is {stored['number']}, not that of the calibration, {calibration.number}")
        for name, number in (("replaced", stored["replaced"]), ("restores", stored["restores"])):
            # Going back must come to an end.
            if (number or 0) >= calibration.number:
                raise file.wrong(f"{name} is {number}, not the number of an earlier calibration")
        return cls(
            calibration,
            stored["time"],
            stored["command"],
            stored["data"],
            stored["left_out"],
            stored["tested"],
            stored["replaced"],
            stored["restores"],
            # Until this was written down, what brought a calibration back was taken for an undo.
            stored.get("undoes", stored["restores"] is not None),
            tuple(Audit(**audit) for audit in stored.get("audits", ())),
        )


def now() -> str:
    """Return the time, UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def entry_path(number: int, suffix: str = ".json") -> str:
    """Return the name of what is kept of a calibration, below the folder of its run or export."""
    return f"{FOLDER}/{number:04}{suffix}"


def unlike_path(place: int) -> str:
    """Return the name of the picture of a fitted image that looks unlike the others; the least like them is 1."""
    return entry_path(1, f"-{place}.jpg")


def kept_files(kept: KeptCalibration, picture: bytes | None, unlike: Sequence[bytes | None] = ()) -> dict[str, bytes]:
    """Return what a calibration adds to its run or export, and changes there, by name.

    Args:
        kept: the calibration that comes into force.
        picture: a JPEG of the image that sets the threshold, if there is one.
        unlike: of the first calibration of a run, JPEGs of the fitted images that look least like the others.
    """
    files = {
        entry_path(kept.number): kept.to_json().encode(),
        CALIBRATION_FILE: kept.calibration.to_json().encode(),
    }
    pictures = {entry_path(kept.number, ".jpg"): picture}
    pictures |= {unlike_path(place): content for place, content in enumerate(unlike, 1)}
    return files | {name: content for name, content in pictures.items() if content is not None}


def list_files(root: Path) -> list[str]:
    """Return the names of all that is kept of the calibrations of a run or an export, whatever state it is in."""
    folder = inside(root, FOLDER)
    found = folder.iterdir() if folder.is_dir() else ()
    rules = {".json": _NUMBER, ".jpg": _PICTURE}
    return sorted(
        f"{FOLDER}/{path.name}" for path in found if path.suffix in rules and rules[path.suffix].fullmatch(path.stem)
    )


def list_numbers(root: Path) -> list[int]:
    """Return the numbers of the calibrations that are kept, ascending."""
    return sorted(number_of(name) for name in list_files(root) if name.endswith(".json"))


def number_of(name: str) -> int:
    """Return the number of the calibration that a file, of those that :func:`list_files` names, is kept of."""
    return int(Path(name).stem.partition("-")[0])


def read_kept(root: Path, number: int) -> KeptCalibration:
    """Return one of the calibrations of a run or an export.

    Raises:
        RunError: it is not kept, or was changed since.
    """
    path = inside(root, entry_path(number))
    kept = KeptCalibration.from_json(_read(path, f", so that calibration {number} cannot be brought back"), path)
    if kept.number != number:
        raise RunError(f"{path}: holds calibration {kept.number}; it was renamed.")
    return kept


def _read(path: Path, consequence: str = "") -> str:
    """Return the text of a file.

    Args:
        path: of the file.
        consequence: what follows if it is missing.

    Raises:
        RunError: it is missing, cannot be read, or is no text.
    """
    try:
        return Artefact(path, RunError).text(LARGEST)
    except FileNotFoundError:
        raise RunError(f"{path}: is missing{consequence}.") from None


def open_calibration(root: Path, weights: str, repairing: bool) -> Calibration:
    """Return the calibration of a run or an export; none if it cannot be used and is to be repaired.

    Raises:
        RunError: it cannot be used; the message says how to repair it.
    """
    try:
        return read_calibration(root, weights)
    except RunError as error:
        if repairing:
            return Calibration.none()
        raise RunError(f"{error.message.rstrip('.')}; {say_repair(root, weights)}") from None


def say_repair(root: Path, weights: str) -> str:
    """Say what to type if a calibration cannot be used: what brings the last one back, if one is kept.

    Args:
        root: a run or an export.
        weights: digest of its model.
    """
    another = f"set another from good images: {quote('adcli', 'calibrate', root)} --data DIR"
    try:
        find_previous(root, weights)
    except RunError:
        return another
    return f"bring it back: {quote('adcli', 'calibrate', root, '--undo')}; or {another}"


def read_calibration(root: Path, weights: str) -> Calibration:
    """Return what is in ``calibration.json``.

    Args:
        root: a run or an export.
        weights: digest of its model.

    Raises:
        RunError: it cannot be read, was changed since it was written, or is that of another run or model.
    """
    path, calibration = root / CALIBRATION_FILE, read_stored(root)
    if calibration.weights != weights:
        raise RunError(f"{path}: is the calibration of another model, by the digest of its weights.")
    if not _may_be_own(root, calibration):
        raise RunError(f"{path}: is none of the calibrations in {root / FOLDER}, so it is that of another run.")
    return calibration


def read_stored(root: Path) -> Calibration:
    """Return what is in ``calibration.json``, whoever's it is; raises :class:`RunError` if it cannot be read."""
    path = inside(root, CALIBRATION_FILE)
    return Calibration.from_json(_read(path), source=path)


def _may_be_own(root: Path, calibration: Calibration) -> bool:
    """Tell whether a calibration is in the history, or could be if more of that were whole."""
    numbers = list_numbers(root)
    own = calibration.number
    if not numbers:
        return True
    try:
        if own in numbers and read_kept(root, own).calibration.digest == calibration.digest:
            return True
    except RunError:
        # Nothing tells what the damaged file held.
        return True
    return any(_holds(root, number, calibration) for number in numbers if number != own)


def _holds(root: Path, number: int, calibration: Calibration) -> bool:
    with contextlib.suppress(RunError):
        return read_kept(root, number).calibration.digest == calibration.digest
    return False


def find_in_force(root: Path, weights: str) -> tuple[Calibration | None, str]:
    """Return the calibration in force, and what is wrong if it is not the one in ``calibration.json``.

    If that file is damaged, or of another run, the last one kept takes its place; None if none is.

    Args:
        root: a run or an export.
        weights: digest of its model.
    """
    try:
        return read_calibration(root, weights), ""
    except RunError as error:
        problem = error.message
    for number in reversed(list_numbers(root)):
        try:
            kept = read_kept(root, number)
        except RunError:
            continue
        if kept.calibration.weights == weights:
            return kept.calibration, f"{problem.rstrip('.')}; going on from {entry_path(number)}."
    return None, problem


def find_previous(root: Path, weights: str) -> KeptCalibration:
    """Return the calibration that ``--undo`` brings back: the one before the last step that was not taken back yet.

    Each new or restored calibration is a step. If ``calibration.json`` cannot be used, that is the last one kept.

    Raises:
        RunError: there was none before, or it is not kept.
    """
    numbers = list_numbers(root)
    try:
        number = read_calibration(root, weights).number
    except RunError:
        number = 0
    if number not in numbers:
        if not numbers:
            raise RunError(f"{inside(root, FOLDER)}: keeps no calibration that could be brought back.")
        return _of_model(read_kept(root, numbers[-1]), root, weights)
    kept = read_kept(root, number)
    while kept.undoes and kept.restores is not None:
        # What was in force then had a step before it that is still to be taken back.
        kept = read_kept(root, kept.restores)
    if kept.replaced is None:
        raise RunError(f"{root}: the first calibration is in force; there is none to go back to.")
    return _of_model(read_kept(root, kept.replaced), root, weights)


def is_first(root: Path, number: int) -> bool:
    """Tell whether a calibration is the first one, or brings that back; raises as :func:`read_kept`."""
    kept = read_kept(root, number)
    while kept.restores is not None:
        kept = read_kept(root, kept.restores)
    return kept.number == 1


def find_wanted(root: Path, number: int, weights: str) -> KeptCalibration:
    """Return one of the calibrations, to be brought back.

    Args:
        root: a run or an export.
        number: of the calibration.
        weights: digest of its model.

    Raises:
        RunError: there was none of that number, it is not kept, or it is in force.
    """
    if number not in list_numbers(root):
        listing = quote("adcli", "calibrate", root, "--list")
        raise RunError(f"{root}: keeps no calibration {number}; what it keeps: {listing}")
    kept = _of_model(read_kept(root, number), root, weights)
    try:
        in_force = read_calibration(root, weights).digest
    except RunError:
        return kept
    if in_force == kept.calibration.digest:
        raise RunError(f"{root}: calibration {number} is in force already.")
    return kept


def find_way_back(root: Path) -> KeptCalibration | None:
    """Return the calibration that was in force before the last one, if it is kept and another one."""
    try:
        last = read_kept(root, list_numbers(root)[-1])
        before = read_kept(root, last.replaced or 0)
    except (RunError, IndexError):
        return None
    return None if before.calibration.digest == last.calibration.digest else before


def _of_model(kept: KeptCalibration, root: Path, weights: str) -> KeptCalibration:
    if kept.calibration.weights != weights:
        raise RunError(f"{root / entry_path(kept.number)}: is the calibration of another model.")
    return kept


def next_number(root: Path, in_force: Calibration | None) -> int:
    """Return the number of the next calibration, which none had before, even if the history is lost."""
    return max([0 if in_force is None else in_force.number, *list_numbers(root)]) + 1


def read_all(root: Path) -> Sequence[KeptCalibration]:
    """Return all calibrations of a run or an export, the first one first; raises as :func:`read_kept`."""
    return [read_kept(root, number) for number in list_numbers(root)]
