"""Looking at data before anything is trained on them: what is there, and what is wrong with it. Imports no torch."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from adcli.data.decoding import read_image, read_mask
from adcli.data.references import load_data
from adcli.data.samples import Sample, Splits
from adcli.errors import DataError
from adcli.progress import Progress, Silent

ASPECT = 0.02
"""Largest difference of the aspects of an image and its mask, which rounding a mask's size down explains."""

AT_A_TIME = 256
"""Images that are under way at once; of each, what is kept is a digest and a few words."""

Kind = Literal["unreadable", "duplicate", "empty mask", "mask size", "unreadable mask"]


@dataclass(frozen=True)
class Finding:
    """Something wrong with one file; ``message`` is one line that names it."""

    kind: Kind
    path: Path
    message: str


@dataclass
class Inspection:
    """What was found in data.

    Attributes:
        reference: what ``--data`` named.
        description: what the data set says of itself.
        splits: number of samples by split, then by label, and of masks.
        sizes: number of images of each size, as ``WIDTH x HEIGHT``.
        modes: number of images of each of Pillow's modes.
        copies: images with the pixels of another of the same split.
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
        """Yield what was found as lines for a person: the counts, then each finding."""
        yield self.description
        for name, counts in self.splits.items():
            listed = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
            yield f"{name:<12}{listed or 'none'}"
        yield f"{'sizes':<12}{_most(self.sizes)}"
        yield f"{'modes':<12}{_most(self.modes)}"
        if self.copies:
            yield f"{'copies':<12}{self.copies} images have the pixels of another one of their split"
        yield from (f"{finding.kind}: {finding.message}" for finding in self.findings)
        yield f"{len(self.findings)} problems" if self.findings else "no problems"


@dataclass(frozen=True)
class _Looked:
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
    """Decode all images and masks of what ``--data`` names, and list what is wrong, without training.

    Wrong are images that cannot be read, images of the test or validation split with the same pixels as one to train
    on, and the masks of defects that cannot be read, mark nothing, or have another shape than their image.

    Args:
        reference: a folder, ``table:FILE`` or ``NAME[:CATEGORY]``; the demo data for None.
        options: options of the data set.
        workers: threads that decode.
        progress: where progress goes.

    Raises:
        DataError: the data cannot be listed at all.
    """
    data = load_data(reference, dict(options or {}))
    found = Inspection(data.reference or "demo", data.splits.description, _counts(data.splits))
    total = sum(len(samples) for _, samples in _parts(data.splits))
    looked = _look_at_all(data.splits, max(workers, 1))
    first: dict[bytes, tuple[str, Path]] = {}
    for seen in (progress or Silent()).track(looked, total, "reading images"):
        found.findings += seen.findings
        if seen.digest:
            found.sizes[seen.size] += 1
            found.modes[seen.mode] += 1
            _compare(seen, first, found)
    return found


def _parts(splits: Splits) -> Iterator[tuple[str, list[Sample]]]:
    # Training images come first, so that each other image is compared with all of them.
    yield from (("train", list(splits.train)), ("test", list(splits.test)), ("validation", list(splits.validation)))


def _counts(splits: Splits) -> dict[str, dict[str, int]]:
    return {
        name: {
            **{str(label or "unlabelled"): count for label, count in Counter(s.label for s in samples).items()},
            "masks": sum(sample.mask is not None for sample in samples),
        }
        for name, samples in _parts(splits)
    }


def _look_at_all(splits: Splits, workers: int) -> Iterator[_Looked]:
    """Yield what each sample looks like, in order."""
    samples = ((name, sample) for name, part in _parts(splits) for sample in part)
    with ThreadPoolExecutor(workers) as pool:
        while some := list(islice(samples, AT_A_TIME)):
            yield from pool.map(_look_at, *zip(*some, strict=True))


def _look_at(split: str, sample: Sample) -> _Looked:
    try:
        pixels = read_image(sample.image)
        with Image.open(sample.image) as image:
            mode = image.mode
    except DataError as error:
        return _Looked(split, sample, findings=(Finding("unreadable", sample.image, error.format_message()),))
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{height} {width} ".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    findings = tuple(_wrong_with_mask(sample, width / height))
    return _Looked(split, sample, f"{width} x {height}", mode, digest.digest(), findings)


def _wrong_with_mask(sample: Sample, aspect: float) -> Iterator[Finding]:
    """Yield what is wrong with the mask of an image, whose width is ``aspect`` times its height."""
    if sample.mask is None:
        return
    try:
        mask = read_mask(sample.mask)
    except DataError as error:
        yield Finding("unreadable mask", sample.mask, error.format_message())
        return
    height, width = mask.shape
    if abs(width / height / aspect - 1) > ASPECT:
        words = f"{sample.mask}: {width} x {height} pixels, another shape than that of {sample.image}."
        yield Finding("mask size", sample.mask, words)
    if not mask.any():
        yield Finding("empty mask", sample.mask, f"{sample.mask}: marks nothing, but {sample.image} is a defect.")


def _compare(seen: _Looked, first: dict[bytes, tuple[str, Path]], found: Inspection) -> None:
    """Note an image whose pixels another image had before."""
    split, path = first.setdefault(seen.digest, (seen.split, seen.sample.image))
    if split != seen.split:
        words = f"{seen.sample.image}: of the {seen.split} split, has the pixels of {path}, of the {split} split."
        found.findings.append(Finding("duplicate", seen.sample.image, words))
    elif path != seen.sample.image:
        found.copies += 1


def _most(counts: Counter[str], shown: int = 5) -> str:
    listed = [f"{name} ({count})" for name, count in counts.most_common(shown)]
    more = len(counts) - shown
    return ", ".join(listed) + (f" and {more} more" if more > 0 else "") or "none"
