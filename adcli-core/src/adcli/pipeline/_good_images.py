"""Good images that are given for a threshold: read, guarded, and found again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from adcli.data.guarding import digests_of, guard
from adcli.data.left_out import say
from adcli.data.references import load_data
from adcli.data.samples import Sample, Splits
from adcli.data.source import Item, items_of
from adcli.errors import DataError
from adcli.progress import Progress


@dataclass(frozen=True)
class GoodImages:
    """Good images of a data set that the model is not fitted to, each once.

    Attributes:
        items: the images.
        reference: what names the data set from any folder.
        splits: all of its samples.
        left_out: number of samples that do not calibrate, by reason.
    """

    items: Sequence[Item]
    reference: str
    splits: Splits
    left_out: dict[str, int]


def read_given(data: str, fitted: Collection[str], progress: Progress) -> GoodImages:
    """Return all good images of what ``--data`` names that may set a threshold, and note what is left out.

    Args:
        data: what ``--data`` names.
        fitted: digests of the images that the model is fitted to.
        progress: receives the notes.

    Raises:
        DataError: it has no good images, or the model is fitted to all of them.
    """
    where = f"--data {data}"
    loaded = load_data(data, {}, all_good=True)
    say(loaded.splits.left_out, progress.note)
    paths = [sample.image for sample in loaded.splits.train]
    if not paths:
        raise DataError(f"{where}: has no good images.")
    digests = digests_of(paths, skip_unreadable=True)
    guarded = guard(paths, digests, fitted, where, "give good images that it has not seen")
    others = _count_others([*loaded.splits.test, *loaded.splits.validation])
    for line in (*guarded.notes(where), *(f"{where}: left out {n} {_WORDS[name]}." for name, n in others.items())):
        progress.note(line)
    left_out = {**guarded.left_out, **others}
    return GoodImages(list(items_of(guarded.kept)), loaded.reference or "", loaded.splits, left_out)


_WORDS = {
    "defects": "defective images: only good ones set this threshold",
    "other splits": "images that its test or validation split keeps",
}


def _count_others(samples: Sequence[Sample]) -> dict[str, int]:
    """Return how many samples do not calibrate, by what they are."""
    defects = sum(sample.label == "defect" for sample in samples)
    return {name: count for name, count in (("defects", defects), ("other splits", len(samples) - defects)) if count}


def find_again(items: Sequence[Item], wanted: Sequence[str]) -> list[Item]:
    """Return the images whose files have the wanted digests, each once.

    Raises:
        DataError: some are missing; the message says how many.
    """
    digests = digests_of([item.path for item in items], skip_unreadable=True)
    found = dict(zip(reversed(digests), reversed(items), strict=True))
    missing = sum(digest not in found for digest in wanted)
    if missing:
        raise DataError(f"{missing} of its {len(wanted)} calibration images are missing or have changed since")
    chosen = {found[digest] for digest in wanted}
    return [item for item in items if item in chosen]
