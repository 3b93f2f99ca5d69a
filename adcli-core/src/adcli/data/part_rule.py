"""Which photographs show the same part, where the unit of inspection is the part and not the photograph.

What calls a piece of a photograph a part, such as :attr:`adcli.data.source.Item.part`, means something else.
"""

import math
import os
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adcli._commands import quote
from adcli.data.samples import Sample, Splits
from adcli.errors import DataError, OptionError

DEPTH = 3
"""How many of the last names of a path are searched, that of the file among them."""


@dataclass(frozen=True)
class PartRule:
    """How to tell which part a photograph shows, and how many photographs a part has.

    Attributes:
        pattern: a regular expression, searched in the last three names of a path, such as ``good/0001/left.jpg``. Its
            group ``part``, else its first group, else all that it matches names the part. Empty if data alone say it.
        views: number of photographs of a complete part; 0 for any.
    """

    pattern: str = ""
    views: int = 0

    def find(self, photograph: str | Path) -> str:
        """Return the part that a photograph shows, from its path or its name; empty if that does not say it."""
        if not self.pattern:
            return ""
        if isinstance(photograph, Path):
            photograph = "/".join(Path(os.path.abspath(photograph)).parts[-DEPTH:])  # noqa: PTH100 - keeps links
        found = re.search(self.pattern, photograph)
        if found is None:
            return ""
        return (found["part"] if "part" in found.re.groupindex else found[1] if found.re.groups else found[0]) or ""


def check_pattern(pattern: str) -> str:
    """Return a regular expression; raises :class:`OptionError` if it is none, or matches nothing but emptiness."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise OptionError(f"must be a regular expression, not '{pattern}' ({error}).") from None
    if compiled.fullmatch(""):
        raise OptionError(f"must be a regular expression that names a part; '{pattern}' matches everything.")
    return pattern


def assign_parts(splits: Splits, pattern: str) -> Splits:
    """Return a data set whose samples say which parts they show, all of one part in the same split.

    Args:
        splits: of which some samples may say it already.
        pattern: as :class:`PartRule` has it; empty if nothing but the data says it.

    Raises:
        DataError: names do not match, or photographs of one part are in several splits.
    """
    rule = PartRule(pattern)
    named = {
        name: [sample if sample.part else replace(sample, part=rule.find(sample.image)) for sample in samples]
        for name, samples in (
            ("training", splits.train),
            ("defective training", splits.defects),
            ("test", splits.test),
            ("validation", splits.validation),
        )
    }
    everything = [sample for samples in named.values() for sample in samples]
    if not any(sample.part for sample in everything) and not pattern:
        return splits
    lacking = [sample for sample in everything if not sample.part]
    if pattern and lacking:
        raise DataError(
            f"--part {pattern}: finds no part in the names of {len(lacking)} of {len(everything)} images, such as "
            f"{lacking[0].image}."
        )
    refuse_straddling(named)
    counts = {name: len({sample.part or sample.image for sample in samples}) for name, samples in named.items()}
    counted = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return replace(
        splits,
        train=named["training"],
        defects=named["defective training"],
        test=named["test"],
        validation=named["validation"],
        description=f"{splits.description}; parts: {counted}",
    )


def refuse_straddling(named: Mapping[str, Sequence[Sample]]) -> None:
    """Make sure that no part is among samples of two purposes; raises :class:`DataError`.

    Args:
        named: the samples by the name of their purpose.
    """
    first: dict[str, tuple[str, Path]] = {}
    for name, samples in named.items():
        for sample in filter(lambda sample: sample.part, samples):
            split, image = first.setdefault(sample.part, (name, sample.image))
            if split != name:
                raise DataError(
                    f"part '{sample.part}' is in the {split} ({image}) and in the {name} images ({sample.image}); put "
                    "all its photographs into one of them, or, if these are two parts, have --part name the folder too."
                )


def assign_parts_of_folder(samples: Sequence[Sample], rule: PartRule | None, where: str) -> list[Sample]:
    """Return the samples of a folder that serves a data set of parts, each with its part; the same without a rule.

    Raises:
        OptionError: nothing says how names tell parts.
        DataError: the name of an image tells none, or a part has more photographs than a complete one.
    """
    if rule is None or not samples:
        return list(samples)
    if not rule.pattern:
        raise OptionError(f"{where}: its images name no parts; say which they show with --part.")
    named = [replace(sample, part=rule.find(sample.image)) for sample in samples]
    lacking = [sample.image for sample in named if not sample.part]
    if lacking:
        raise DataError(
            f"{where}: --part {rule.pattern} finds no part in the names of {len(lacking)} of {len(named)} images, such "
            f"as {lacking[0]}."
        )
    refuse_more_views(named, rule)
    return named


def refuse_more_views(samples: Iterable[Sample], rule: PartRule | None) -> None:
    """Make sure that no part has more photographs than a complete one.

    Raises:
        DataError: one has: several parts have its name, or something was photographed twice.
    """
    if rule is None or not rule.views:
        return
    shown: dict[str, list[Path]] = {}
    for sample in filter(lambda sample: sample.part, samples):
        shown.setdefault(sample.part, []).append(sample.image)
    for part, images in shown.items():
        if len(images) > rule.views:
            raise DataError(
                f"--views {rule.views}: part '{part}' has {len(images)} photographs, among them {images[0]} and "
                f"{images[-1]}; if these are several parts, have --part name the folder too, else remove what is too "
                "many."
            )


def join_linked(names: Iterable[Sequence[Hashable]]) -> list[int]:
    """Return the number of each subject's group, from 0 in order: subjects that have a name in common are in one."""
    roots: dict[Hashable, Hashable] = {}

    def find(name: Hashable) -> Hashable:
        while roots.setdefault(name, name) != name:
            roots[name] = roots[roots[name]]
            name = roots[name]
        return name

    firsts = []
    for first, *others in names:
        for other in others:
            roots[find(other)] = find(first)
        firsts.append(first)
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(find(first), len(numbers)) for first in firsts]


class Scored(NamedTuple):
    """The score of a photograph or a part, whether it has a defect, and of which kind, as far as that is known."""

    score: float
    is_defect: bool
    kind: str | None = None


def join_scored(scored: Iterable[tuple[Hashable, Scored]]) -> list[Scored]:
    """Return what is said of each part: the largest score, and the defect of the highest photograph that has one.

    Args:
        scored: of each photograph, what tells its part, and what is said of it.
    """
    joined: dict[Hashable, Scored] = {}
    highest: dict[Hashable, Scored] = {}
    for part, one in scored:
        if one.is_defect and one.score > highest.get(part, Scored(-math.inf, False)).score:
            highest[part] = one
        joined[part] = one if part not in joined or one.score > joined[part].score else joined[part]
    return [
        Scored(one.score, part in highest, highest[part].kind if part in highest else None)
        for part, one in joined.items()
    ]


MOST_VIEWS, LEAST_PARTS, MOSTLY = 12, 5, 0.8
"""How many images of a part names hint at, at most; how many parts, at least; and how many of these have them all."""

_NAMES = (
    (r"(?P<part>[^/]+)[_.-](?P<view>[^/_.-]+)\.\w+$", r"([^/]+)[_.-][^/_.-]+\.\w+$"),
    (r"(?:^|/)(?P<view>[^/_.-]+)[_.-](?P<part>[^/]+)\.\w+$", r"(?:^|/)[^/_.-]+[_.-]([^/]+)\.\w+$"),
    (r"(?P<part>[^/]+)/(?P<view>[^/]+)$", r"([^/]+)/[^/]+$"),
)
"""How names may tell a part, and which of its images it is; and the expression that finds the part alone."""


def suspect_parts(images: Sequence[Path]) -> str:
    """Say that images have names like those of several images of each part; nothing if they do not."""
    for names, pattern in _NAMES:
        found = [re.search(names, "/".join(path.parts[-DEPTH:])) for path in images]
        views: dict[str, set[str]] = {}
        for one in filter(None, found):
            views.setdefault(one["part"], set()).add(one["view"])
        count = len(set().union(*views.values()))
        whole = sum(len(seen) == count for seen in views.values())
        enough = len(views) >= LEAST_PARTS and whole >= MOSTLY * len(views)
        if all(found) and enough and 2 <= count <= MOST_VIEWS:
            return (
                f"the names look like {count} images of each of {len(views)} parts; if so, use "
                f"{quote('--part', pattern, '--views', count)}, so that what is promised is promised of parts."
            )
    return ""


LEAST_IMAGES, CLOSE, OFTEN = 10, 0.25, 0.2
"""Images that are compared at least; what is close, as a share of what is usual; and how many make suspicious."""


def suspect_repeats(thumbnails: Sequence[NDArray[np.uint8]]) -> str:
    """Say that images, in the order of their names, show the same again and again; nothing if they do not.

    Args:
        thumbnails: of each image, (16, 16, 3).
    """
    if len(thumbnails) < LEAST_IMAGES:
        return ""
    seen = np.stack(thumbnails).astype(np.float32)
    to_next, to_others = (
        np.sqrt(np.square(seen - np.roll(seen, shift, axis=0)).mean(axis=(1, 2, 3))) for shift in (1, len(seen) // 2)
    )
    close = int((to_next < CLOSE * np.median(to_others)).sum())
    if close < OFTEN * len(seen):
        return ""
    return (
        f"{close} of {len(seen)} images hardly differ from the one before, compared with the others: they may show the "
        "same part again; if so, say which they show with --part, so that what is promised is promised of parts."
    )
