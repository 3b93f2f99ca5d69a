"""Inspect data before training: count what is there, and report what is wrong with it."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adcli._showing import count, introduce
from adcli.data.ahead import load_all
from adcli.data.bits import WHITE, ceiling
from adcli.data.coverage import STEP, choose_size, find_typical, say_coverage
from adcli.data.decoding import Decoding, Pixels, Size, decode, judge_mask, read_bytes, read_mask, resize
from adcli.data.framing import PLAIN
from adcli.data.headers import compare_shapes
from adcli.data.left_out import CLEAR, CLIPPED, COARSE, EMPTY_MASK, LeftOut, Omissions, Reason
from adcli.data.part_rule import suspect_parts, suspect_repeats
from adcli.data.references import load_data
from adcli.data.samples import Sample, Splits
from adcli.errors import DataError
from adcli.progress import Progress, Silent

Kind = Literal[
    "unreadable", "duplicate", "transparent", "empty mask", "full mask", "mask size", "unreadable mask", "left out"
]


@dataclass(frozen=True)
class Finding:
    """Something wrong with one file; ``message`` is one line that names it."""

    kind: Kind
    path: Path
    message: str

    def __repr__(self) -> str:
        return introduce(self, self.path, self.kind)


@dataclass
class Inspection:
    """What was found in a data set.

    Attributes:
        reference: what ``--data`` named.
        description: what the data set says of itself.
        splits: by split, the number of samples with each label, and of masks.
        sizes: number of images of each size, ``WIDTH x HEIGHT``.
        modes: number of images in each of Pillow's modes.
        bits: of the images of 16 bits, number of those that need so many of them.
        copies: number of images with the same pixels as another image of their split.
        left_out: what is passed over, and is not wrong for that.
        suspected_parts: why images seem to show parts together, and what to do; empty if they do not, or say so.
        findings: what is wrong, in the order of the data.
    """

    reference: str
    description: str
    splits: dict[str, dict[str, int]]
    sizes: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    bits: Counter[int] = field(default_factory=Counter)
    copies: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    suspected_parts: str = ""
    findings: list[Finding] = field(default_factory=list)

    def __repr__(self) -> str:
        images = sum(self.sizes.values())
        return introduce(self, self.reference, count(images, "image"), count(len(self.findings), "problem"))

    def lines(self) -> Iterator[str]:
        """Yield what was found as lines to read: the counts, then each finding."""
        yield self.description
        for name, counts in self.splits.items():
            listed = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
            yield f"{name:<12}{listed or 'none'}"
        yield f"{'sizes':<12}{_list_most_common(self.sizes)}"
        yield f"{'modes':<12}{_list_most_common(self.modes)}"
        if self.bits:
            used = ", ".join(f"{bits} of 16 ({count})" for bits, count in sorted(self.bits.items()))
            yield f"{'bits':<12}{used}; white is {2 ** max(self.bits) - 1}, unless --white says else"
        if self.copies:
            yield f"{'copies':<12}{self.copies} images have the same pixels as another image of their split"
        if hint := self._say_coverage():
            yield f"{'hint':<12}{hint}"
        if self.suspected_parts:
            yield f"{'parts?':<12}{self.suspected_parts}"
        yield from chain.from_iterable(map(_list_left_out, self.left_out))
        yield from (f"{finding.kind}: {finding.message}" for finding in self.findings)
        yield f"{len(self.findings)} problems" if self.findings else "no problems"

    def _say_coverage(self) -> str:
        """Say how coarsely a model would look at such images; nothing if finely enough."""
        sizes = [(*map(int, size.split(" x ")), number) for size, number in self.sizes.items()]
        part = find_typical([(height, width, number) for width, height, number in sizes], PLAIN)
        if part is None:
            return ""
        size = choose_size(part, USUAL_SIZE, PLAIN, STEP)
        hint = say_coverage(part, size, PLAIN)
        return hint and f"at --image-size {size[0]}x{size[1]}, {hint}"


THUMBNAIL = (16, 16)
"""Height and width at which images are compared with each other."""

USUAL_SIZE = (256, 256)
"""Height and width whose number of pixels most models look at by default, in the photographs' aspect."""


@dataclass(frozen=True)
class _Look:
    """One sample, decoded: size, mode and bits of its image, a digest of its pixels, and what is odd or wrong.

    The thumbnail shows whether it is a photograph of what the one before shows.
    """

    split: str
    sample: Sample
    size: str = ""
    mode: str = ""
    digest: bytes = b""
    thumbnail: Pixels | None = None
    bits: int = 0
    odd: tuple[Reason, ...] = ()
    findings: tuple[Finding, ...] = ()


def inspect_data(
    reference: str | None,
    options: Mapping[str, Any] | None = None,
    *,
    part: str = "",
    workers: int = 2,
    progress: Progress | None = None,
) -> Inspection:
    """Decode all images and masks of a data set and report what is wrong, without training.

    Reports unreadable and transparent images, images that also appear in another split, masks that are unreadable,
    empty, inverted, of another shape than their image or of no image, and all that is passed over.

    Args:
        reference: a folder, ``table:FILE`` or ``NAME[:CATEGORY]``; None for the demo data.
        options: options of the data set.
        part: a regular expression that finds the part that an image shows in its name.
        workers: threads that decode.
        progress: where progress goes.

    Raises:
        DataError: the data cannot be listed at all.
    """
    data = load_data(reference, dict(options or {}), part=part)
    found = Inspection(data.reference or "demo", data.splits.description, _count(data.splits))
    total = sum(len(samples) for samples in _name_splits(data.splits).values())
    for entry in data.splits.left_out:
        if entry.is_problem:
            found.findings += [Finding("left out", Path(name), f"{name}: {entry.reason}.") for name in entry.examples]
        else:
            found.left_out.append(entry)
    thumbnails = list[Pixels]()
    looks, odd = _look_at_all(data.splits, workers), Omissions()
    first: dict[bytes, tuple[str, Path]] = {}
    for look in (progress or Silent()).track(looks, total, "reading images"):
        found.findings += look.findings
        if look.digest:
            found.sizes[look.size] += 1
            found.modes[look.mode] += 1
            found.bits += Counter([look.bits] if look.bits else [])
            for reason in look.odd:
                odd.add(reason, look.sample.image)
            _note_copy(look, first, found)
            thumbnails += [look.thumbnail] if look.split == "train" and look.thumbnail is not None else []
    found.left_out += odd.take()
    samples = [*chain.from_iterable(_name_splits(data.splits).values())]
    if not any(sample.part for sample in samples):
        found.suspected_parts = suspect_parts([sample.image for sample in samples]) or suspect_repeats(thumbnails)
    return found


def _list_left_out(entry: LeftOut) -> Iterator[str]:
    """Yield a line for each of what was left out for a reason, as far as it is known."""
    yield from (f"left out: {name}: {entry.reason}" for name in entry.examples)
    if entry.count > len(entry.examples):
        yield f"left out: {entry.count - len(entry.examples)} more: {entry.reason}"


def _name_splits(splits: Splits) -> dict[str, Sequence[Sample]]:
    # Training images come first, so that every other image is compared with all of them.
    known = {"defects": splits.defects} if splits.defects else {}
    return {"train": splits.train, **known, "test": splits.test, "validation": splits.validation}


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
        image = _decode(sample.image)
    except DataError as error:
        return _Look(split, sample, findings=(Finding("unreadable", sample.image, error.format_message()),))
    height, width = image.pixels.shape[:2]
    digest = hashlib.sha256(f"{height} {width} ".encode())
    digest.update(np.ascontiguousarray(image.pixels).data)
    findings = [*_check_mask(sample, (height, width))]
    if CLEAR in image.oddities:
        findings.append(Finding("transparent", sample.image, f"{sample.image}: is transparent, and so black."))
    return _Look(
        split,
        sample,
        f"{width} x {height}",
        image.mode,
        digest.digest(),
        resize(image.pixels, THUMBNAIL),
        0 if image.highest is None else ceiling(image.highest).bit_length(),
        tuple(reason for reason in image.oddities if reason not in (CLEAR, CLIPPED, COARSE)),
        tuple(findings),
    )


def _decode(path: Path) -> Decoding:
    """Decode an image by its own white, as it might have been trained on: else the dark ones would look alike."""
    content = read_bytes(path)
    image = decode(content, path)
    white = WHITE if image.highest is None else ceiling(image.highest)
    return image if white == WHITE else decode(content, path, white)


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
    reason = judge_mask(mask)
    if reason is EMPTY_MASK:
        yield Finding("empty mask", sample.mask, f"{sample.mask}: marks nothing, but {sample.image} is a defect.")
    elif reason is not None:
        marked = np.count_nonzero(mask) / mask.size
        words = f"{sample.mask}: marks {marked:.0%} of {sample.image}; any value but 0 marks, so it may be inverted."
        yield Finding("full mask", sample.mask, words)


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
