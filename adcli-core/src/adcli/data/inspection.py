"""Inspect data before training: count what is there, and report what is wrong with it."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adcli.data.ahead import load_all
from adcli.data.decoding import Size, read_image, read_mask
from adcli.data.formats import open_image
from adcli.data.headers import compare_shapes
from adcli.data.references import load_data
from adcli.data.samples import Sample, Splits
from adcli.errors import DataError
from adcli.progress import Progress, Silent

Kind = Literal["unreadable", "duplicate", "empty mask", "mask size", "unreadable mask"]


@dataclass(frozen=True)
class Finding:
    """Something wrong with one file; ``message`` is one line that names it."""

    kind: Kind
    path: Path
    message: str


@dataclass
class Inspection:
    """What was found in a data set.

    Attributes:
        reference: what ``--data`` named.
        description: what the data set says of itself.
        splits: by split, the number of samples with each label, and of masks.
        sizes: number of images of each size, ``WIDTH x HEIGHT``.
        modes: number of images in each of Pillow's modes.
        copies: number of images with the same pixels as another image of their split.
        findings: what is wrong, in the order of the data.
    """

    reference: str
    description: str
    splits: dict[str, dict[str, int]]
    sizes: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    copies: int = 0
    findings: list[Finding] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Yield what was found as lines to read: the counts, then each finding."""
        yield self.description
        for name, counts in self.splits.items():
            listed = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
            yield f"{name:<12}{listed or 'none'}"
        yield f"{'sizes':<12}{_list_most_common(self.sizes)}"
        yield f"{'modes':<12}{_list_most_common(self.modes)}"
        if self.copies:
            yield f"{'copies':<12}{self.copies} images have the same pixels as another image of their split"
        yield from (f"{finding.kind}: {finding.message}" for finding in self.findings)
        yield f"{len(self.findings)} problems" if self.findings else "no problems"


@dataclass(frozen=True)
class _Look:
    """One sample, decoded: size and mode of its image, a digest of its pixels, and what is wrong with it."""

    split: str
    sample: Sample
    size: str = ""
    mode: str = ""
    digest: bytes = b""
    findings: tuple[Finding, ...] = ()


def inspect_data(
    reference: str | None,
    options: Mapping[str, Any] | None = None,
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> Inspection:
    """Decode all images and masks of a data set and report what is wrong, without training.

    Reports unreadable images, images that also appear in another split, and masks that are unreadable, empty or of
    another shape than their image.

    Args:
        reference: a folder, ``table:FILE`` or ``NAME[:CATEGORY]``; None for the demo data.
        options: options of the data set.
        workers: threads that decode.
        progress: where progress goes.

    Raises:
        DataError: the data cannot be listed at all.
    """
    data = load_data(reference, dict(options or {}))
    found = Inspection(data.reference or "demo", data.splits.description, _count(data.splits))
    total = sum(len(samples) for samples in _name_splits(data.splits).values())
    looks = _look_at_all(data.splits, workers)
    first: dict[bytes, tuple[str, Path]] = {}
    for look in (progress or Silent()).track(looks, total, "reading images"):
        found.findings += look.findings
        if look.digest:
            found.sizes[look.size] += 1
            found.modes[look.mode] += 1
            _note_copy(look, first, found)
    return found


def _name_splits(splits: Splits) -> dict[str, Sequence[Sample]]:
    # Training images come first, so that every other image is compared with all of them.
    return {"train": splits.train, "test": splits.test, "validation": splits.validation}


def _count(splits: Splits) -> dict[str, dict[str, int]]:
    return {
        name: {
            **{str(label or "unlabelled"): count for label, count in Counter(s.label for s in samples).items()},
            "masks": sum(sample.mask is not None for sample in samples),
        }
        for name, samples in _name_splits(splits).items()
    }


def _look_at_all(splits: Splits, workers: int) -> Iterator[_Look]:
    """Return a look at each sample, in order."""
    samples = ((name, sample) for name, part in _name_splits(splits).items() for sample in part)
    return load_all(samples, lambda named: _look_at(*named), workers)


def _look_at(split: str, sample: Sample) -> _Look:
    try:
        pixels = read_image(sample.image)
        with open_image(sample.image) as image:
            mode = image.mode
    except DataError as error:
        return _Look(split, sample, findings=(Finding("unreadable", sample.image, error.format_message()),))
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{height} {width} ".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    findings = tuple(_check_mask(sample, (height, width)))
    return _Look(split, sample, f"{width} x {height}", mode, digest.digest(), findings)


def _check_mask(sample: Sample, size: Size) -> Iterator[Finding]:
    """Yield what is wrong with the mask of an image of a size."""
    if sample.mask is None:
        return
    try:
        mask = read_mask(sample.mask)
    except DataError as error:
        yield Finding("unreadable mask", sample.mask, error.format_message())
        return
    words = compare_shapes(sample, (mask.shape[0], mask.shape[1]), size)
    if words:
        yield Finding("mask size", sample.mask, words)
    if not mask.any():
        yield Finding("empty mask", sample.mask, f"{sample.mask}: marks nothing, but {sample.image} is a defect.")


def _note_copy(look: _Look, first: dict[bytes, tuple[str, Path]], found: Inspection) -> None:
    """Note an image whose pixels appeared before; ``first`` holds split and path by the digest of the pixels."""
    image = look.sample.image
    split, path = first.setdefault(look.digest, (look.split, image))
    if split != look.split:
        words = f"{image}: in the {look.split} split, has the same pixels as {path} in the {split} split."
        found.findings.append(Finding("duplicate", image, words))
    elif path != image:
        found.copies += 1


def _list_most_common(counts: Counter[str], shown: int = 5) -> str:
    listed = [f"{name} ({count})" for name, count in counts.most_common(shown)]
    more = len(counts) - shown
    return ", ".join(listed) + (f" and {more} more" if more > 0 else "") or "none"
