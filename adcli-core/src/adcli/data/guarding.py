"""Keep images from setting a threshold that must not: those that the model was fitted to, test images, and copies.

Images are told apart by the digests of their files, never by their names.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from adcli.data.ahead import load_all
from adcli.data.splitting import READERS, content_digest
from adcli.errors import DataError

T = TypeVar("T")

_WHY = {
    "fitted": "the model is fitted to them, or to copies",
    "test images": "they are test images, or copies",
    "copies": "copies of others, which count once",
}


@dataclass(frozen=True)
class Guarded(Generic[T]):
    """What is left of some images, and how many were left out for which reason.

    Attributes:
        kept: those that may set a threshold, in their order.
        fitted: images that the model was fitted to.
        tested: test images, which nothing is tuned on.
        copies: copies of images that are kept.
    """

    kept: Sequence[T]
    fitted: int = 0
    tested: int = 0
    copies: int = 0

    @property
    def left_out(self) -> dict[str, int]:
        """Number of images left out, by reason."""
        counts = {"fitted": self.fitted, "test images": self.tested, "copies": self.copies}
        return {reason: count for reason, count in counts.items() if count}

    def notes(self, where: str) -> Iterator[str]:
        """Yield a sentence for each reason; ``where`` is the option that named the images."""
        total = len(self.kept) + sum(self.left_out.values())
        for reason, count in self.left_out.items():
            yield f"{where}: left out {count} of {total} images: {_WHY[reason]}."


def guard(
    subjects: Sequence[T],
    digests: Sequence[str],
    fitted: Collection[str],
    where: str,
    remedy: str,
    counted: Collection[str] = (),
    tested: Collection[str] = (),
) -> Guarded[T]:
    """Leave out images that the model is fitted to, test images, and all but one of those with equal files.

    Args:
        subjects: the images, whatever stands for them.
        digests: of their files, in the same order; one that is empty is not known, and equals no other.
        fitted: digests of the files that the model is fitted to.
        where: the option that named the images.
        remedy: what to do if no image may set a threshold.
        counted: digests of images that count already, so that these are copies.
        tested: digests of the test images that are to stay new.

    Raises:
        DataError: each of them is fitted or a test image.
    """
    kept: list[T] = []
    seen = set(counted)
    count = {"fitted": 0, "tested": 0, "copies": 0}
    for subject, digest in zip(subjects, digests, strict=True):
        if digest and digest in fitted:
            count["fitted"] += 1
        elif digest and digest in tested:
            count["tested"] += 1
        elif digest and digest in seen:
            count["copies"] += 1
        else:
            kept.append(subject)
            seen.add(digest)
    if subjects and count["fitted"] + count["tested"] == len(subjects):
        raise DataError(f"{where}: {_refuse(count['fitted'], count['tested'])}; {remedy}.")
    return Guarded(kept, **count)


def keep_whole(kept: Sequence[T], given: Sequence[T], parts: Mapping[T, str]) -> list[T]:
    """Return those of the images that are kept whose parts lost none: one of a part that is known is not new.

    Args:
        kept: images, in their order.
        given: those, and others that were left out.
        parts: the part that an image shows, for those that show one together with others.
    """
    left_out = set(given) - set(kept)
    broken = {parts[one] for one in left_out if one in parts}
    return [one for one in kept if parts.get(one) not in broken]


def _refuse(fitted: int, tested: int) -> str:
    """Say why none of some images may set a threshold."""
    if not tested:
        return f"the model is fitted to all {fitted} images, or to copies of them, so that they say nothing of new ones"
    if not fitted:
        return f"all {tested} images are test images, or copies of them, and nothing is tuned on these"
    return (
        f"none of the {fitted + tested} images is new: the model is fitted to {fitted} of them, and {tested} are test "
        "images"
    )


def digests_of(paths: Sequence[Path], *, skip_unreadable: bool, known: dict[Path, str] | None = None) -> list[str]:
    """Return the digest of each file; empty for one that cannot be read, if those are to be skipped.

    Args:
        paths: of the files.
        skip_unreadable: whether those that cannot be read are to be skipped.
        known: digests of files that were read already, which takes up those that are read now.

    Raises:
        DataError: a file cannot be read.
    """
    known = {} if known is None else known
    unread = [path for path in dict.fromkeys(paths) if path not in known]
    read = load_all(unread, _digest_or_nothing if skip_unreadable else content_digest, READERS)
    known |= {path: digest for path, digest in zip(unread, read, strict=True) if digest}
    return [known.get(path, "") for path in paths]


def _digest_or_nothing(path: Path) -> str:
    try:
        return content_digest(path)
    except DataError:
        return ""
