"""The rules for data sets. A rule is a function whose docstring says what it promises. Nothing here imports torch."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from adcli._plugins.registry import Plugin, Provided, registry
from adcli.data.decoding import read_image, read_mask
from adcli.data.samples import Sample, Splits, have_same_aspect
from adcli.options import Options
from adcli.specs import DatasetSpec, load_target
from adcli.testing._failures import UnmetError, made_once
from adcli.testing._kinds import WriteImages
from adcli.testing._places import declared, packages
from adcli.testing.assertions import (
    assert_described_lightly,
    assert_documented,
    assert_imports_none,
    assert_refused,
    assert_silent,
)

DECODED = 100
"""Images of each split, and masks, that are decoded: all of a small data set, and some all over a large one."""

NO_CATEGORY = "no_such_category"

SPLITS = ("train", "defects", "test", "validation")
"""The lists of samples in :class:`Splits`."""


class Subject:
    """A data set under test, with what it is loaded from."""

    def __init__(
        self, provided: Provided[DatasetSpec], options: Mapping[str, Any], write_images: WriteImages | None
    ) -> None:
        self.provided = provided
        self.spec = provided.spec
        self._given = options
        self._write_images = write_images
        # Lives as long as the subject; removed when the process ends.
        self._temporary = tempfile.TemporaryDirectory()

    @property
    def folder(self) -> Path:
        """A folder for the rules, with the images that the test wrote in it."""
        return Path(self._temporary.name)

    @cached_property
    def values(self) -> dict[str, Any]:
        """The options the data set is loaded with, by name."""
        if self._write_images is None:
            return {**self._given}
        (self.folder / "data").mkdir()
        return {**self._given, **self._write_images(self.folder / "data")}

    @property
    def options(self) -> Options:
        """The same, parsed."""
        return self.spec.options.parse(self.values)

    @property
    def category(self) -> str | None:
        """The category to look at; None if there are none."""
        return self.spec.categories[0] if self.spec.categories else None

    def load(self, category: str | None = None, changed: Mapping[str, Any] | None = None) -> Splits:
        """Load a category, the first unless told otherwise, perhaps with other values of options."""
        load: Callable[[Options, str | None], Any] = self.provided.load(self.spec.target)
        found = load(self.spec.options.parse({**self.values, **(changed or {})}), category or self.category)
        return as_splits(found, self.spec.target)

    @made_once
    def splits(self) -> Splits:
        """The data set, loaded once."""
        return self.load()

    def parts(self) -> Iterator[tuple[str, Sequence[Sample]]]:
        """Yield the splits by name."""
        yield from ((name, getattr(self.splits, name)) for name in SPLITS)

    def samples(self) -> Iterator[tuple[str, Sample]]:
        """Yield every sample with the name of its split."""
        for name, samples in self.parts():
            yield from ((name, sample) for sample in samples)


def as_splits(found: Any, target: str) -> Splits:
    """Return what ``load`` returned if rules can look at it, else fail in words."""
    if not isinstance(found, Splits):
        raise UnmetError(f"{target} returned {type(found).__name__}, expected adcli.data.Splits")
    for part in SPLITS:
        samples = getattr(found, part)
        if not isinstance(samples, Sequence) or isinstance(samples, str):
            raise UnmetError(
                f"Splits.{part} is {type(samples).__name__}, expected a list or tuple of adcli.data.Sample"
            )
        strange = [sample for sample in samples if not isinstance(sample, Sample)]
        if strange:
            raise UnmetError(f"Splits.{part} has {strange[0]!r}, expected adcli.data.Sample only")
        for sample in samples:
            for name, path in (("image", sample.image), ("mask", sample.mask)):
                if not (isinstance(path, Path) or (name == "mask" and path is None)):
                    raise UnmetError(f"Splits.{part}: Sample.{name} is {path!r}, expected a pathlib.Path")
    return found


def packages_of(subject: Subject) -> set[str]:
    """Return the packages that a data set's code is in."""
    return packages(subject.provided, subject.spec.target)


def looked_at(subject: Subject, rule: str) -> Any:
    """Return the function, or what describes the data set, that a rule is about."""
    if rule in ("describing_imports_nothing_heavy", "options_are_documented_and_valid"):
        return declared(subject.provided)
    return load_target(subject.spec.target)


def subject_of(
    dataset: str | DatasetSpec, options: Mapping[str, Any] | None = None, write_images: WriteImages | None = None
) -> Subject:
    """Return the subject of a data set's name or spec, the options it is loaded with, and what writes its data."""
    unknown = Plugin("test", "test", "0")
    provided = registry().datasets[dataset] if isinstance(dataset, str) else Provided(dataset, unknown)
    return Subject(provided, options or {}, write_images)


def _spread(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return up to :data:`DECODED` samples from all over a list."""
    return [samples[i * len(samples) // DECODED] for i in range(DECODED)] if len(samples) > DECODED else samples


def describing_imports_nothing_heavy(subject: Subject) -> None:
    """Describing the data set imports neither torch nor numpy."""
    assert_described_lightly(subject.provided.plugin, subject.spec.options, ("torch", "numpy"))


def options_are_documented_and_valid(subject: Subject) -> None:
    """Name and summary are given, every option has help, and the defaults are valid."""
    assert_documented(subject.spec)
    subject.spec.options.parse({})
    assert callable(load_target(subject.spec.target)), f"target {subject.spec.target} is no function that loads"
    untypable = [name for name in subject.spec.categories if not name or ":" in name or name != name.strip()]
    expected = "expected names without ':' and without space around them, for --data NAME:CATEGORY"
    assert not untypable, f"categories are {untypable}, {expected}"


def loading_gives_samples_to_train_on(subject: Subject) -> None:
    """``load`` returns Splits of samples, some of them to train on, with a description of one line at most."""
    splits = subject.splits
    assert splits.train, "Splits.train is empty, expected good samples to train on"
    assert isinstance(splits.description, str), f"Splits.description is {splits.description!r}, expected a text"
    lines = len(splits.description.splitlines())
    assert lines <= 1, f"the description has {lines} lines, expected one: {splits.description!r}"


def images_exist_and_can_be_read(subject: Subject) -> None:
    """Every image is the path of a file, and images all over each split decode."""
    for name, samples in subject.parts():
        for sample in samples:
            assert sample.image.is_file(), f"{name}: {sample.image} is not a file, expected an image"
        for sample in _spread(samples):
            read_image(sample.image)


def labels_are_good_or_defect(subject: Subject) -> None:
    """Training images are good, known defects are defects, others are labelled or None; only defects have a kind."""
    allowed = {
        "train": ("good",),
        "defects": ("defect",),
        "test": ("good", "defect", None),
        "validation": ("good", "defect"),
    }
    for name, sample in subject.samples():
        wanted = " or ".join(map(repr, allowed[name]))
        found = f"{name}: {sample.image} has the label {sample.label!r}"
        assert sample.label in allowed[name], f"{found}, expected {wanted}"
        named = sample.label == "defect" or sample.defect is None
        assert named, f"{found} and the defect {sample.defect!r}, expected None as its defect"


def masks_fit_their_defects(subject: Subject) -> None:
    """Only defects have masks: files, or folders of files, with the size or the aspect ratio of their image."""
    masked = [sample for _, sample in subject.samples() if sample.mask is not None]
    for sample in masked:
        found = f"{sample.image} has the label {sample.label!r} and the mask {sample.mask}"
        assert sample.label == "defect", f"{found}, expected masks of defects only"
        assert isinstance(sample.mask, Path), f"the mask {sample.mask!r} is no pathlib.Path"
        # A file of shapes for many images stands for a folder.
        there = sample.mask.exists() or sample.mask.parent.is_file()
        assert there, f"the mask {sample.mask} is not there, expected a file or folder"
    for sample in _spread(masked):
        assert sample.mask is not None
        height, width = read_mask(sample.mask).shape
        image_height, image_width = read_image(sample.image).shape[:2]
        sizes = f"is {height} x {width}, expected {image_height} x {image_width} as its image, or the same aspect"
        assert have_same_aspect((height, width), (image_height, image_width)), f"the mask {sample.mask} {sizes}"


def no_image_appears_twice(subject: Subject) -> None:
    """No image is in two splits, nor twice in one."""
    seen: dict[Path, str] = {}
    for name, sample in subject.samples():
        image = sample.image.resolve()
        assert image not in seen, f"{sample.image} is in {seen[image]} and in {name}, expected once"
        seen[image] = name


def loading_is_repeatable(subject: Subject) -> None:
    """Loading twice gives the same samples in the same order."""
    first, second = subject.splits, subject.load()
    for name in SPLITS:
        before, after = list(getattr(first, name)), list(getattr(second, name))
        if before != after:
            same = sorted(map(str, before)) == sorted(map(str, after))
            found = "another order" if same else f"other samples ({len(after)}, first {len(before)})"
            raise AssertionError(f"loaded again, {name} has {found}, expected the same: sort what a folder lists")


def every_category_loads_and_no_other(subject: Subject) -> None:
    """Every category has images to train on; an unknown category is an AdcliError of one line that names it."""
    for category in subject.spec.categories:
        assert subject.load(category).train, f"category '{category}': Splits.train is empty, expected good samples"
    assert_refused(lambda: subject.load(NO_CATEGORY), f"category '{NO_CATEGORY}'", NO_CATEGORY)


def missing_data_is_named(subject: Subject) -> None:
    """If a file or folder that an option names is missing, or not named, an AdcliError of one line says which."""
    for name, place in _places(subject).items():
        missing = subject.folder / "missing" / place.name
        load = partial(subject.load, changed={name: missing})
        assert_refused(load, f"{name}={missing}", str(missing))
    for name in _needed(subject):
        load = partial(subject.load, changed={name: None})
        if not _trains(load):
            _assert_asked_for(load, name)


def _needed(subject: Subject) -> Iterator[str]:
    """Yield the options that are None unless given, and that name a place, or of which nobody knows yet."""
    places = _places(subject)
    for info in subject.spec.options.describe():
        given = subject.values.get(info.name)
        if info.default is None and (info.name in places or (given is None and "path" in info.type)):
            yield info.name


def _assert_asked_for(load: Callable[[], Splits], name: str) -> None:
    """Check that data that are not named are asked for, as an option or as what --data takes."""
    message = assert_refused(load, f"without {name}")
    asked = f"{name}=" in message or "--data" in message
    assert asked, f"without {name}: expected a message that says '-d {name}=...', found: {message}"


def an_empty_folder_is_no_data_set(subject: Subject) -> None:
    """If a folder that an option names is empty, and no images are elsewhere, an AdcliError of one line says so."""
    empty = subject.folder / "empty"
    empty.mkdir(exist_ok=True)
    for name, place in _places(subject).items():
        load = partial(subject.load, changed={name: empty})
        if place.is_dir() and not _trains(load):
            assert_refused(load, f"{name}=an empty folder")


def _trains(load: Callable[[], Splits]) -> bool:
    try:
        return bool(load().train)
    except Exception:
        return False


def _places(subject: Subject) -> dict[str, Path]:
    """Return the options that name a file or folder on disk, as text or path."""
    values = {name: getattr(subject.options, name) for name in subject.options.to_dict()}
    texts = {name: value for name, value in values.items() if isinstance(value, (str, Path)) and str(value)}
    return {name: Path(value) for name, value in texts.items() if Path(value).exists()}


def loading_is_silent(subject: Subject) -> None:
    """Loading prints nothing and writes nothing into the current folder."""
    absolute = {name: place.absolute() for name, place in _places(subject).items()}
    assert_silent(lambda: subject.load(changed=absolute))


_LOAD_ALONE = """
from adcli.specs import load_target
options = load_target(sys.argv[3]).parse(json.loads(sys.argv[4]))
load_target(sys.argv[2])(options, json.loads(sys.argv[5]))
watch.report()
"""


def loading_imports_no_torch(subject: Subject) -> None:
    """The data set is loaded without torch, so that machines without it can predict on its images."""
    options = f"{subject.spec.options.__module__}:{subject.spec.options.__qualname__}"
    values, category = json.dumps(subject.options.to_dict()), json.dumps(subject.category)
    assert_imports_none("loading", _LOAD_ALONE, ("torch",), subject.spec.target, options, values, category)


_ALL: Sequence[Callable[[Subject], None]] = (
    describing_imports_nothing_heavy,
    options_are_documented_and_valid,
    loading_gives_samples_to_train_on,
    images_exist_and_can_be_read,
    labels_are_good_or_defect,
    masks_fit_their_defects,
    no_image_appears_twice,
    loading_is_repeatable,
    every_category_loads_and_no_other,
    missing_data_is_named,
    an_empty_folder_is_no_data_set,
    loading_is_silent,
    loading_imports_no_torch,
)

RULES: dict[str, Callable[[Subject], None]] = {rule.__name__: rule for rule in _ALL}
"""Every rule, by name."""
