"""What a data set is: lists of samples, as paths."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adcli._showing import introduce
from adcli.data.left_out import LeftOut

Label = Literal["good", "defect"]
"""What is known of a sample."""

ASPECT_TOLERANCE = 0.02
"""By how much the aspects of two sizes may differ and still count as the same: rounding a side explains that much."""


@dataclass(frozen=True)
class Sample:
    """One image and what is known about it.

    Attributes:
        image: path of the image file.
        label: ``"good"``, ``"defect"``, or None if nobody has said.
        mask: path of an image whose non-zero pixels are the defect, or of a folder of such images, which are merged, or
            of a file of shapes, see :mod:`adcli.data.drawings`; None if there is none.
        defect: the kind of defect, for example ``"scratch"``.
        part: the part that the image shows, of which there may be other images; empty if the image is all there is.
    """

    image: Path
    label: Label | None = None
    mask: Path | None = None
    defect: str | None = None
    part: str = ""

    def __repr__(self) -> str:
        return introduce(self, self.image, self.defect or self.label or "no label", self.part and f"part {self.part}")


@dataclass(frozen=True)
class Splits:
    """A data set: good images to train on, and what to test and validate with.

    Attributes:
        train: samples to fit and calibrate on; all good.
        test: samples to evaluate; may be unlabelled or empty.
        validation: labelled samples for ``--threshold f1``; never used for training.
        description: one line that tells the user what was recognised.
        left_out: what lies among the files and is passed over.
        defects: known defects to train on, with masks or without, for models that learn from them.
    """

    train: Sequence[Sample]
    test: Sequence[Sample] = ()
    validation: Sequence[Sample] = ()
    description: str = ""
    left_out: Sequence[LeftOut] = ()
    defects: Sequence[Sample] = ()

    def __repr__(self) -> str:
        counts = {
            "to train on": self.train,
            "known defects": self.defects,
            "to test": self.test,
            "to validate": self.validation,
        }
        return introduce(self, "", *(f"{len(samples)} {what}" for what, samples in counts.items() if samples))


def say_defects(defects: Sequence[Sample]) -> str:
    """Return how many known defects there are to train on, as the end of a list; nothing if there are none."""
    return f"; known defects to train on: {count_labels(defects)}" if defects else ""


def find_shared_mask(splits: Splits) -> tuple[Sample, Sample] | None:
    """Return a known defect and another sample that have the same mask, so that it is not known whose it is."""
    others = {sample.mask: sample for sample in (*splits.test, *splits.validation) if sample.mask is not None}
    return next(((one, others[one.mask]) for one in splits.defects if one.mask in others), None)


def say_label(sample: Sample) -> str:
    """Return what is known of a sample, as a fact."""
    return f"labelled {sample.label}" if sample.label else "no label"


def have_same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Tell whether two sizes, (height, width), have the same aspect but for rounding."""
    first, second = size[0] * other[1], size[1] * other[0]
    return abs(first - second) <= ASPECT_TOLERANCE * max(first, second)


def count_labels(samples: Sequence[Sample]) -> str:
    """Return the counts in words, for example ``"20 good, 63 defective (broken 22, scratch 41)"``."""
    labels = Counter(sample.label for sample in samples)
    words = [f"{labels['good']} good"] if labels["good"] else []
    if labels["defect"]:
        kinds = Counter(sample.defect or "defect" for sample in samples if sample.label == "defect")
        words.append(f"{labels['defect']} defective ({', '.join(f'{kind} {n}' for kind, n in sorted(kinds.items()))})")
    if labels[None]:
        words.append(f"{labels[None]} unlabelled")
    return ", ".join(words) or "none"
