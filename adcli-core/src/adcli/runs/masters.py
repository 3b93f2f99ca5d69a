"""The masters' file: what a run or an export said of master images, for every later version to say again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

from adcli._artefacts import Artefact, digest_of
from adcli._artefacts.declaring import Digest, NotNegative, Ordinal, Positive, Time
from adcli._artefacts.parsing import parse_json
from adcli.errors import DataError, one_line

SUFFIX = ".masters.json"
FORMAT = 1
"""Raised when a field changes its meaning or goes; others may be added."""

LARGEST = 64 << 20
"""Bytes of the file, at most: a hundred thousand images have fewer."""

WHOLE = ""
"""The scale of a photograph's score; those of its zones have their names."""

Verdict = Literal["good", "defect", ""]
_REMEDY = "bring it back, or record the masters again with --record --force"


class _StoredScale(TypedDict):
    range: Positive
    rounding: NotNegative


class _StoredImage(TypedDict):
    image: str
    digest: Digest
    score: float
    zone_scores: dict[str, float]
    verdict: Verdict
    zone: str


class _Stored(TypedDict):
    """What a masters' file holds."""

    format: Ordinal
    name: str
    time: Time
    subject: dict[str, Any]
    versions: dict[str, str]
    scales: dict[str, _StoredScale]
    images: list[_StoredImage]
    digest: str


class Scale(NamedTuple):
    """What differences of scores are measured by.

    Attributes:
        range: largest minus smallest score of good images.
        rounding: how far rounding moves a score on one machine.
    """

    range: float
    rounding: float

    def allows(self, difference: float, tolerance: float) -> bool:
        """Tell whether two scores are equal for a tolerance, as a share of the range."""
        return difference <= max(tolerance * self.range, self.rounding)


class Master(NamedTuple):
    """What was said of a master image.

    Attributes:
        image: its path in the folder of masters, with ``/``.
        digest: sha256 of its file.
        score: the image score.
        zone_scores: those of its zones, by name; empty without zones.
        verdict: ``"good"``, ``"defect"``, or empty without a threshold.
        zone: names of the zones that were found defective, with commas between them.
    """

    image: str
    digest: str
    score: float
    zone_scores: Mapping[str, float]
    verdict: Verdict
    zone: str


@dataclass(frozen=True)
class Masters:
    """What a run or an export said of its master images.

    Attributes:
        name: of the run or the export among those that have masters.
        time: when, UTC, as ISO 8601.
        subject: what said it: kind, digests, thresholds, framing, as plain values.
        versions: of what computed it, by name.
        scales: what differences of scores are measured by: ``""`` and the names of zones.
        images: the images.
    """

    name: str
    time: str
    subject: Mapping[str, Any]
    versions: Mapping[str, str]
    scales: Mapping[str, Scale]
    images: Sequence[Master]

    def to_json(self) -> str:
        """Return JSON that ends with its own digest."""
        content = {
            "format": FORMAT,
            "name": self.name,
            "time": self.time,
            "subject": json.loads(json.dumps(self.subject)),
            "versions": dict(self.versions),
            "scales": {name: scale._asdict() for name, scale in self.scales.items()},
            "images": [{**image._asdict(), "zone_scores": dict(image.zone_scores)} for image in self.images],
        }
        return json.dumps({**content, "digest": digest_of(content)}, indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Masters":
        """Read a masters' file.

        Raises:
            FileNotFoundError: it is not there.
            DataError: it was changed since it was written, is none, or a newer version wrote it.
        """
        file = Artefact(path, DataError, _REMEDY)
        content = file.parse(parse_json, file.text(LARGEST))
        file.check_digest(content)
        if isinstance(content, dict):
            _check_format(file, content.get("format"))
        stored = file.check(content, _Stored)
        if WHOLE not in stored["scales"]:
            raise file.wrong("scales has none for photographs")
        images = [Master(*(image[name] for name in Master._fields)) for image in stored["images"]]  # type: ignore[literal-required]
        if len({image.image for image in images}) < len(images):
            raise file.wrong("images names one twice")
        unknown = next((name for image in images for name in image.zone_scores if name not in stored["scales"]), None)
        if unknown is not None:
            raise file.wrong(f"scales has none for zone '{one_line(unknown)[:60]}'")
        scales = {name: Scale(scale["range"], scale["rounding"]) for name, scale in stored["scales"].items()}
        return cls(stored["name"], stored["time"], stored["subject"], stored["versions"], scales, images)


def _check_format(file: Artefact, written: Any) -> None:
    if type(written) is int and written > FORMAT:
        raise DataError(f"{file.path}: was written by a newer adcli-core; upgrade adcli-core to read it.")
