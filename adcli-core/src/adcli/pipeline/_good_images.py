"""Good images that are given for a threshold: read, guarded, and found again."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adcli.data.guarding import digests_of, guard, keep_whole
from adcli.data.left_out import say
from adcli.data.part_rule import PartRule, refuse_more_views
from adcli.data.references import load_data
from adcli.data.samples import Sample, Splits
from adcli.data.source import Item, items_of
from adcli.errors import DataError, OptionError
from adcli.progress import Progress


@dataclass(frozen=True)
class GoodImages:
    """Good images of a data set that the model is not fitted to, each once.

    Attributes:
        items: the images.
        reference: what names the data set from any folder.
        splits: all of its samples.
        left_out: number of samples that do not calibrate, by reason.
        part_of: the part that an image shows, for those that show one together with others.
    """

    items: Sequence[Item]
    reference: str
    splits: Splits
    left_out: dict[str, int]
    part_of: Mapping[Path, str]


def read_given(data: str, fitted: Collection[str], progress: Progress, parts: PartRule | None = None) -> GoodImages:
    """Return all good images of what ``--data`` names that may set a threshold, and note what is left out.

    Args:
        data: what ``--data`` names.
        fitted: digests of the images that the model is fitted to.
        progress: receives the notes.
        parts: how parts are told, where the threshold is to be of parts: one of which an image does not calibrate, does
            not either.

    Raises:
        DataError: it has no good images, or the model is fitted to all of them.
    """
    where = f"--data {data}"
    loaded = load_data(data, {}, all_good=True, part=parts.pattern if parts else "")
    say(loaded.splits.left_out, progress.note)
    paths = [sample.image for sample in loaded.splits.train]
    if not paths:
        raise DataError(f"{where}: has no good images.")
    refuse_more_views(loaded.splits.train, parts)
    digests = digests_of(paths, skip_unreadable=True)
    guarded = guard(paths, digests, fitted, where, "give good images that it has not seen")
    others = _count_others([*loaded.splits.defects, *loaded.splits.test, *loaded.splits.validation])
    part_of = {sample.image: sample.part for sample in loaded.splits.train if parts and sample.part}
    if parts and not part_of:
        raise OptionError(f"{where}: its images name no parts; say which they show with --part.")
    for line in (*guarded.notes(where), *(f"{where}: left out {n} {_WORDS[name]}." for name, n in others.items())):
        progress.note(line)
    left_out = {**guarded.left_out, **others}
    kept = keep_whole(guarded.kept, paths, part_of)
    if len(kept) < len(guarded.kept):
        left_out["parts of those"] = len(guarded.kept) - len(kept)
        progress.note(f"{where}: left out {len(guarded.kept) - len(kept)} other images of the parts that those show.")
    return GoodImages(list(items_of(kept)), loaded.reference or "", loaded.splits, left_out, part_of)


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
