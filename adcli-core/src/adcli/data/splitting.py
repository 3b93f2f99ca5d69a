"""Hold images out for testing when a data set has no split of its own."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from adcli._files import file_digest
from adcli._plugins.builtin import SplitOptions
from adcli.data.ahead import load_all
from adcli.data.part_rule import PartRule, join_linked
from adcli.data.samples import Sample
from adcli.errors import DataError

READERS = 8
"""Threads that read files; they wait for the disk, and hashing releases the interpreter."""


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return file_digest(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None


def content_digests(paths: Sequence[Path], workers: int = READERS) -> list[str]:
    """Return the digest of each file, read in threads; raises as :func:`content_digest`."""
    return list(load_all(paths, content_digest, workers))


def held_out(
    paths: Sequence[Path], share: float, seed: int = 0, parts: Mapping[Path, str] = MappingProxyType({})
) -> set[Path]:
    """Return about ``share`` of the files, chosen by the seed and by each file's own bytes.

    A file therefore stays on its side when others are added or when it is renamed, and two copies of an image are
    always on the same side, as are the images of a part. Every file is read once; raises as :func:`content_digest`.

    Args:
        paths: the files.
        share: of them, or of the parts that they show.
        seed: another makes another choice.
        parts: the part that an image shows, for those that show one together with others.
    """
    digests = content_digests(paths)
    shown = [[("part", parts[path])] if parts.get(path) else [] for path in paths]
    groups = join_linked([digest, *part] for digest, part in zip(digests, shown, strict=True))
    least: dict[int, str] = {}
    for group, digest in zip(groups, digests, strict=True):
        least[group] = min(digest, least.get(group, digest))
    return {path for path, group in zip(paths, groups, strict=True) if _draw_number(seed, least[group]) < share}


def choose_tested(samples: Sequence[Sample], options: SplitOptions) -> set[Path]:
    """Return which good images are for testing: a share of them, and those of parts that have defects elsewhere."""
    rule = PartRule(options.part)
    parts = {sample.image: sample.part or rule.find(sample.image) for sample in samples}
    defective = {parts[sample.image] for sample in samples if sample.label != "good"} - {""}
    good = [sample.image for sample in samples if sample.label == "good"]
    tested = held_out(good, options.test_share, options.seed, parts)
    return tested | {image for image in good if parts[image] in defective}


def _draw_number(seed: int, digest: str) -> float:
    """Return a number in [0, 1), the same for the same seed and digest."""
    return int.from_bytes(hashlib.sha256(f"{seed} {digest}".encode()).digest()[:4], "big") / 2**32
