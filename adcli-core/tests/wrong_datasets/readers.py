"""A right reader, and wrong ones that differ from it in one thing each."""

from dataclasses import replace
from itertools import count
from pathlib import Path

from PIL import Image

from adcli import DataError, OptionError
from adcli.data import Sample, Splits
from wrong_datasets import PlainOptions

SIZE = (24, 16)
CATEGORIES = ("bolt", "nut")
_LOADED = count()


def write(folder: Path) -> dict[str, Path]:
    """Write two categories of good, dented and masked images."""
    for category in CATEGORIES:
        for number in range(4):
            for kind in ("train", "good", "dent"):
                _save(Image.effect_noise(SIZE, 50), folder / category / kind / f"{number}.png")
            _save(Image.new("L", SIZE, 255), folder / category / "masks" / f"{number}.png")
            _save(Image.new("L", SIZE[::-1], 255), folder / category / "turned" / f"{number}.png")
        (folder / category / "notes.png").write_text("no image")
    return {"root": folder}


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def right(options: PlainOptions, category: str | None) -> Splits:
    """Read a category."""
    if category not in CATEGORIES:
        raise DataError(f"no category '{category}'; there are {', '.join(CATEGORIES)}.")
    if options.root is None:
        raise OptionError("needs a folder: -d root=FOLDER.")
    root = options.root / category
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected 'train', 'good', 'dent' and 'masks' in it.")
    test = [Sample(path, "good") for path in _images(root / "good")]
    test += [Sample(path, "defect", root / "masks" / path.name, "dent") for path in _images(root / "dent")]
    return Splits([Sample(path, "good") for path in _images(root / "train")], test, description=f"{root}: read")


def _images(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))


undocumented = right


def wordy(options: PlainOptions, category: str | None) -> Splits:
    """Describes itself in two lines."""
    return replace(right(options, category), description="read\nwith care")


def with_a_text_file(options: PlainOptions, category: str | None) -> Splits:
    """Takes for an image what is none."""
    splits = right(options, category)
    return replace(splits, test=[*splits.test, Sample(splits.train[0].image.parents[1] / "notes.png")])


def with_a_kind_of_good(options: PlainOptions, category: str | None) -> Splits:
    """Gives good test images a kind of defect."""
    splits = right(options, category)
    return replace(splits, test=[replace(sample, defect=sample.defect or "good") for sample in splits.test])


def with_turned_masks(options: PlainOptions, category: str | None) -> Splits:
    """Has the masks of images that stand on their side."""
    splits = right(options, category)
    return replace(splits, test=[_turned(sample) for sample in splits.test])


def _turned(sample: Sample) -> Sample:
    mask = sample.mask
    return sample if mask is None else replace(sample, mask=mask.parents[1] / "turned" / mask.name)


def leaking(options: PlainOptions, category: str | None) -> Splits:
    """Tests on a training image."""
    splits = right(options, category)
    return replace(splits, test=[*splits.test, splits.train[0]])


def shuffled(options: PlainOptions, category: str | None) -> Splits:
    """Has another order each time."""
    splits = right(options, category)
    turn = next(_LOADED) % len(splits.train)
    return replace(splits, train=[*splits.train[turn:], *splits.train[:turn]])


def lenient(options: PlainOptions, category: str | None) -> Splits:
    """Takes the first category for one that there is not."""
    return right(options, category if category in CATEGORIES else CATEGORIES[0])


def vague(options: PlainOptions, category: str | None) -> Splits:
    """Does not say what is missing."""
    if options.root is not None and not options.root.is_dir():
        raise DataError("data not found.")
    return right(options, category)


def crashing(options: PlainOptions, category: str | None) -> Splits:
    """Fails where a folder is empty."""
    if options.root is not None and options.root.is_dir():
        next(options.root.iterdir())
    return right(options, category)


def talkative(options: PlainOptions, category: str | None) -> Splits:
    """Prints while it loads."""
    print("loading")
    return right(options, category)


def with_torch(options: PlainOptions, category: str | None) -> Splits:
    """Needs torch for nothing."""
    import torch

    torch.get_num_threads()
    return right(options, category)


def torn(options: PlainOptions, category: str | None) -> Splits:
    """Fails wherever it is loaded."""
    return options.nope  # type: ignore[attr-defined]
