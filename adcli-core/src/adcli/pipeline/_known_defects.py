"""Known defects to train on: which of them a model learns from, and what makes them unfit for it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from adcli.data.decoding import judge_mask, read_mask
from adcli.data.guarding import digests_of
from adcli.data.headers import compare_shapes
from adcli.data.left_out import EMPTY_MASK
from adcli.data.samples import Sample, Splits, count_labels, find_shared_mask
from adcli.data.source import ImageSource, Item
from adcli.errors import DataError
from adcli.progress import Progress
from adcli.specs import ModelSpec


def choose_defects(
    spec: ModelSpec, splits: Splits, source: ImageSource, good: Mapping[Path, str], progress: Progress
) -> list[Sample]:
    """Return the known defects that a model learns from: none if it learns from good images alone, which is said.

    Training for hours must not end at an image or a mask that cannot be read, so all are read.

    Args:
        spec: of the model.
        splits: the data.
        source: reads the images, and says in the end which of them were skipped.
        good: digests of the good images to train on, by path.
        progress: is told what is not used, and what is not known.

    Raises:
        DataError: an image or a mask cannot be read or used, or contradicts another.
    """
    known = list(splits.defects)
    if not known:
        return []
    if not spec.learns_from_defects:
        words = f"{spec.name} learns from good images alone: left out the defects among the training images"
        progress.note(f"{words}, {count_labels(known)}.")
        return []
    _refuse_contradictions(splits, good, source.skip_unreadable)
    sizes = _read_sizes(known, source, progress)
    defects = [sample for sample in known if sample.image in sizes]
    for sample in defects:
        _check_mask(sample, source, sizes[sample.image])
    bare = sum(sample.mask is None for sample in defects)
    if bare:
        progress.note(f"{bare} of {len(defects)} known defects have no mask, so that where they are is not learnt.")
    return defects


def _refuse_contradictions(splits: Splits, good: Mapping[Path, str], skip_unreadable: bool) -> None:
    """Raise :class:`DataError` if a known defect is a good image too, or it is not known whose its mask is."""
    called_good = {digest: path for path, digest in good.items()}
    digests = digests_of([sample.image for sample in splits.defects], skip_unreadable=skip_unreadable)
    for sample, digest in zip(splits.defects, digests, strict=True):
        if digest in called_good:
            raise DataError(f"{sample.image}: is a defect, but its copy {called_good[digest]} is good; remove one.")
    shared = find_shared_mask(splits)
    if shared is not None:
        defect, other = shared
        raise DataError(
            f"{defect.mask}: is found as the mask of {defect.image} and of {other.image}; give each its own, those of "
            "training images in 'train/ground_truth'."
        )


def _read_sizes(samples: Sequence[Sample], source: ImageSource, progress: Progress) -> dict[Path, tuple[int, int]]:
    """Return height and width of each image that can be read."""
    before = set(source.skipped)
    read = progress.track(source.stream(Item(one.image) for one in samples), len(samples), "checking known defects")
    sizes = {item.path: image.original_size for item, image in read}
    for name in [name for name in source.skipped if name not in before]:
        progress.note(f"skipped: {source.skipped[name]}")
    return sizes


def _check_mask(sample: Sample, source: ImageSource, size: tuple[int, int]) -> None:
    """Raise :class:`DataError` if a mask cannot be used, or parts of the image are looked at and there is none."""
    if sample.mask is None:
        if source.framing.parts > 1:
            raise DataError(
                f"{sample.image}: a known defect without a mask, and with --tiles or zones it is not known which part "
                "shows it; give a mask, or train without these."
            )
        return
    mask = read_mask(sample.mask)
    problem = compare_shapes(sample, (mask.shape[0], mask.shape[1]), size)
    if problem is not None:
        raise DataError(problem)
    if judge_mask(mask) is EMPTY_MASK:
        raise DataError(f"{sample.mask}: marks nothing, but {sample.image} is a defect; mark it, or remove the mask.")
