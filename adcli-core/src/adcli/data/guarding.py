"""Keep images from setting a threshold that say nothing of new ones: those the model was fitted to, and copies.

Images are told apart by the digests of their files, never by their names.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from adcli.data.splitting import content_digest, content_digests
from adcli.errors import DataError

T = TypeVar("T")


@dataclass(frozen=True)
class Guarded(Generic[T]):
    """What is left of some images, and how many were left out for which reason.

    Attributes:
        kept: those that may set a threshold, in their order.
        fitted: images that the model was fitted to.
        copies: copies of images that are kept.
    """

    kept: Sequence[T]
    fitted: int = 0
    copies: int = 0

    @property
    def left_out(self) -> dict[str, int]:
        """Number of images left out, by reason."""
        counts = {"fitted": self.fitted, "copies": self.copies}
        return {reason: count for reason, count in counts.items() if count}

    def notes(self, where: str) -> Iterator[str]:
        """Yield a sentence for each reason; ``where`` is the option that named the images."""
        total = len(self.kept) + self.fitted + self.copies
        if self.fitted:
            yield f"{where}: left out {self.fitted} of {total} images: the model is fitted to them, or to copies."
        if self.copies:
            yield f"{where}: left out {self.copies} of {total} images: copies of others, which count once."


def guard(
    subjects: Sequence[T],
    digests: Sequence[str],
    fitted: Collection[str],
    where: str,
    remedy: str,
    counted: Collection[str] = (),
) -> Guarded[T]:
    """Leave out images that the model is fitted to, and all but one of those with equal files.

    Args:
        subjects: the images, whatever stands for them.
        digests: of their files, in the same order; one that is empty is not known, and equals no other.
        fitted: digests of the files that the model is fitted to.
        where: the option that named the images.
        remedy: what to do if the model is fitted to all of them.
        counted: digests of images that count already, so that these are copies.

    Raises:
        DataError: the model is fitted to all of them.
    """
    kept: list[T] = []
    seen = set(counted)
    count = {"fitted": 0, "copies": 0}
    for subject, digest in zip(subjects, digests, strict=True):
        if digest and digest in fitted:
            count["fitted"] += 1
        elif digest and digest in seen:
            count["copies"] += 1
        else:
            kept.append(subject)
            seen.add(digest)
    if subjects and count["fitted"] == len(subjects):
        raise DataError(
            f"{where}: the model is fitted to all {len(subjects)} images, or to copies of them, so that they say "
            f"nothing of new ones; {remedy}."
        )
    return Guarded(kept, **count)


def digests_of(paths: Sequence[Path], *, skip_unreadable: bool) -> list[str]:
    """Return the digest of each file; empty for one that cannot be read, if those are to be skipped.

    Raises:
        DataError: a file cannot be read.
    """
    if not skip_unreadable:
        return content_digests(paths)
    return list(map(_digest_or_nothing, paths))


def _digest_or_nothing(path: Path) -> str:
    try:
        return content_digest(path)
    except DataError:
        return ""
