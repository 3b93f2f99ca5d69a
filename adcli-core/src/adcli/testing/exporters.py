"""The rules for exporters. A rule is a function whose docstring says what it promises."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adcli import __version__
from adcli._plugins.registry import Plugin, Provided, registry
from adcli.data.decoding import Pixels, read_image, resize
from adcli.data.samples import Sample
from adcli.data.source import ImageSource, Item, items_of
from adcli.errors import ExportError
from adcli.exports.agreement import MAPS, Tolerance, shape
from adcli.exports.export import Export, ExportSource, load_runtime
from adcli.exports.writing import seal_folder, write_graph
from adcli.nn.batches import Batches
from adcli.nn.model import Model
from adcli.nn.runtime import ModelRuntime
from adcli.pipeline._export import Evidence, measure
from adcli.progress import Silent
from adcli.runs.run import Run
from adcli.runs.settings import TrainSettings
from adcli.scoring.calibration import Calibration
from adcli.scoring.runtime import Runtime, Scored
from adcli.scoring.thresholds import CalibrationPlan, calibrate
from adcli.specs import ExporterSpec, ModelSpec, load_target
from adcli.testing._failures import UnmetError, made_once
from adcli.testing._places import declared, packages
from adcli.testing.assertions import assert_described_lightly, assert_documented, assert_silent, run_python
from adcli.testing.models import SIZE, damaged_images, good_images, save_images
from adcli.testing.models import subject_of as model_subject_of
from adcli.testing.reference import REFERENCE

OTHER_SIZES = ((96, 80), (47, 130), (64, 64))
SAME = 1e-4
"""Largest difference between scores of one graph that are the same, relative to the range of good scores."""


class Subject:
    """An exporter under test, and a small model exported once for all rules that only look at the folder."""

    def __init__(self, provided: Provided[ExporterSpec], model: str | ModelSpec, options: Mapping[str, Any]) -> None:
        self.provided = provided
        self.options = options
        self.spec = provided.spec
        self.model = model_subject_of(model)
        # Lives as long as the subject; removed when the process ends.
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)

    @made_once
    def evidence(self) -> Evidence:
        """Good images, and damaged ones of other sizes than the model's."""
        images = self.new_folder()
        good = save_images(images, good_images())
        compared: list[Path] = []
        for size in OTHER_SIZES:
            compared += save_images(images, damaged_images(size)[:3], start=len(good) + len(compared))
        items = items_of(good)
        plan = CalibrationPlan(method="held-out", rate=0.1, fit=items, good=items)
        return Evidence(plan, [Sample(path) for path in compared], ImageSource(SIZE, workers=0))

    def fit(self, images: Sequence[Item]) -> Model:
        """Fit the model to images."""
        model = self.model.build()
        model.fit(Batches(images, ImageSource(SIZE, workers=0), batch_size=4))
        return model.eval()

    def original_of(self, model: Model) -> ExportSource:
        """Return a run of the model, as exporters see one."""
        evidence, runtime = self.evidence, ModelRuntime(model, torch.device("cpu"))
        calibration = calibrate(evidence.plan, runtime, evidence.source, batch_size=4, progress=Silent())
        plugin = self.model.provided.plugin
        options = self.model.spec.options.parse(self.model.spec.quick).to_dict()
        size = f"{SIZE[0]}x{SIZE[1]}"
        settings = TrainSettings.parse({"model": self.model.spec.name, "options": options, "image_size": size})
        record = {
            "core": __version__,
            "model": self.model.spec.name,
            "plugin": {"distribution": plugin.distribution, "version": plugin.version},
            "weights": "0" * 64,
        }
        run = Run(self.folder / "run", settings.to_dict(), record, calibration)
        task = self.model.spec.task
        return ExportSource(run, model, task, SIZE, lambda: (read_image(item.path) for item in evidence.plan.good))

    @made_once
    def original(self) -> ExportSource:
        """The run that is exported."""
        return self.original_of(self.fit(self.evidence.plan.fit))

    @made_once
    def export(self) -> Export:
        """The exported folder, not compared with the run yet."""
        return Export.open(self.write(self.new_folder()))

    def can_export(self) -> bool:
        """Tell whether the exporter works at all."""
        try:
            return self.export is not None
        except Exception:
            return False

    def new_folder(self) -> Path:
        """Make an empty folder that no other rule uses."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def write(self, folder: Path) -> Path:
        """Export into an empty folder, and return it."""
        manifest, runtime = write_graph(self.provided, self.spec.options.parse(self.options), self.original, folder)
        del runtime
        run = self.original.run
        seal_folder(folder, manifest, run.calibration)
        return folder

    def load(self, export: Export) -> Runtime:
        """Load the runtime of an exported folder."""
        runtime = load_runtime(self.provided, export, "cpu", f"exporter '{self.spec.name}'")
        return lambda images: as_scored(runtime(images), len(images))

    @made_once
    def runtime(self) -> Runtime:
        """The exported graph."""
        return self.load(self.export)

    @made_once
    def original_runtime(self) -> Runtime:
        """The model that was exported."""
        return ModelRuntime(self.original.model, torch.device("cpu"))

    @property
    def calibration(self) -> Calibration:
        """The run's calibration."""
        return self.original.run.calibration

    def relative(self, found: NDArray[Any], expected: NDArray[Any]) -> float:
        """Return the largest difference of scores relative to the range of good ones."""
        scores = self.calibration.image_scores
        return float(np.abs(np.asarray(found, np.float64) - expected).max()) / (scores[-1] - scores[0])


def as_scored(found: Any, count: int) -> Scored:
    """Return what a runtime returned for some images if rules can look at it, else fail in words."""
    expected = "expected scores (N,) and maps (N, h, w) or None, numpy arrays"
    if not (isinstance(found, tuple) and len(found) == 2):
        raise UnmetError(f"the runtime returned {type(found).__name__}, {expected}")
    for name, array, dimensions in (("scores", found[0], 1), ("maps", found[1], 3)):
        if name == "maps" and array is None:
            continue
        if not isinstance(array, np.ndarray):
            raise UnmetError(f"the runtime returned {name} of type {type(array).__name__}, {expected}")
        if array.ndim != dimensions or len(array) != count:
            raise UnmetError(f"the runtime returned {name} of shape {array.shape} for {count} images, {expected}")
    scores, maps = found
    return scores, maps


def packages_of(subject: Subject) -> set[str]:
    """Return the packages that an exporter's code is in."""
    return packages(subject.provided, subject.spec.target, subject.spec.runtime)


_WRITES = ("facts_describe_the_graph", "a_wrong_graph_fails_the_check", "exporting_is_silent")
"""The rules about the function that exports; most are about the one that loads."""


def looked_at(subject: Subject, rule: str) -> Any:
    """Return the function, or what describes the exporter, that a rule is about."""
    if rule in ("describing_imports_nothing_heavy", "options_are_documented_and_valid"):
        return declared(subject.provided)
    # Without an export there is nothing to load.
    writes = rule in _WRITES or not subject.can_export()
    return load_target(subject.spec.target if writes else subject.spec.runtime)


_subjects: dict[tuple[str, ...], Subject] = {}


def subject_of(
    exporter: str | ExporterSpec, options: Mapping[str, Any] | None = None, model: str | ModelSpec = REFERENCE
) -> Subject:
    """Return the subject of an exporter's name or spec, its options and the model to export; the same one each time."""
    options = options or {}
    key = (_key(exporter), _key(model), str(sorted(options.items())))
    if key not in _subjects:
        unknown = Plugin("test", "test", "0")
        provided = registry().exporters[exporter] if isinstance(exporter, str) else Provided(exporter, unknown)
        _subjects[key] = Subject(provided, model, options)
    return _subjects[key]


def _key(named: str | ExporterSpec | ModelSpec) -> str:
    return named if isinstance(named, str) else f"{named.target} {named.options.__qualname__} {named.name}"


def _mixed_images() -> Pixels:
    """Return good and damaged images (N, H, W, 3) of the model's size."""
    images = torch.cat([good_images()[:3], damaged_images()[3:6]])
    pixels: Pixels = np.rint(255 * images.permute(0, 2, 3, 1).numpy()).astype(np.uint8)
    return pixels


def _alone(runtime: Runtime, images: Pixels) -> NDArray[np.float64]:
    return np.array([float(runtime(image[None].copy())[0][0]) for image in images])


def describing_imports_nothing_heavy(subject: Subject) -> None:
    """Describing the exporter imports neither torch nor numpy."""
    assert_described_lightly(subject.provided.plugin, subject.spec.options, ("torch", "numpy"))


def options_are_documented_and_valid(subject: Subject) -> None:
    """Name and summary are given, every option has help, defaults are valid, and both targets can be imported."""
    assert_documented(subject.spec)
    subject.spec.options.parse({})
    for target in (subject.spec.target, subject.spec.runtime):
        assert callable(load_target(target)), f"target {target} is no function"


def facts_describe_the_graph(subject: Subject) -> None:
    """The facts list inputs and outputs, each a dictionary with a name."""
    facts: Mapping[str, Any] = subject.export.facts
    for key in ("inputs", "outputs"):
        described = facts[key]
        expected = "expected a list of one dictionary for each, with its 'name'"
        assert isinstance(described, list), f"fact '{key}' is {described!r}, {expected}"
        assert described, f"fact '{key}' is an empty list, {expected}"
        for item in described:
            assert isinstance(item, dict) and item.get("name"), f"fact '{key}' holds {item!r}, {expected}"  # noqa: PT018


def scores_equal_the_original(subject: Subject) -> None:
    """Scores are finite float32 and equal the model's within the stated tolerance, maps within ten times as much."""
    tolerance = float(subject.export.facts["tolerance"])
    for image in _mixed_images():
        expected, expected_map = subject.original_runtime(image[None])
        scores, maps = subject.runtime(image[None].copy())
        assert scores.dtype == np.float32, f"scores are {scores.dtype}, expected float32"
        assert shape(maps) == shape(expected_map), f"maps are {shape(maps)}, expected {shape(expected_map)}"
        assert np.isfinite(scores).all(), f"a score is {scores[0]}, expected a finite number"
        difference = subject.relative(scores, expected)
        allowed = f"expected at most the stated tolerance of {tolerance:g}"
        assert difference <= tolerance, f"scores differ from the model's by {difference:.2g} of their range, {allowed}"
        if maps is not None and expected_map is not None:
            difference = float(np.abs(maps - expected_map).max() / np.ptp(expected_map))
            most = MAPS * tolerance
            found = f"maps differ from the model's by {difference:.2g} of their range"
            assert difference <= most, f"{found}, expected at most {most:g}, ten times the tolerance"


def images_of_other_sizes_are_resized_as_in_training(subject: Subject) -> None:
    """An image of another size scores as it does after the core has resized it."""
    tolerance = float(subject.export.facts["tolerance"])
    for sample in subject.evidence.compared:
        pixels = read_image(sample.image)
        raw, resized = _alone(subject.runtime, pixels[None]), _alone(subject.runtime, resize(pixels, SIZE)[None])
        difference = subject.relative(raw, resized)
        size = f"{pixels.shape[0]} x {pixels.shape[1]}"
        found = f"at {size}, scores differ by {difference:.2g} of their range from those after adcli.data.resize"
        assert difference <= tolerance, f"{found}, expected at most the stated tolerance of {tolerance:g}"


def a_score_does_not_depend_on_the_batch(subject: Subject) -> None:
    """An image's score is the same alone, in batches of any size, and in any order."""
    images = _mixed_images()
    alone = _alone(subject.runtime, images)
    together, _ = subject.runtime(images.copy())
    backwards, _ = subject.runtime(images[::-1].copy())
    pair, _ = subject.runtime(images[:2].copy())
    for found, expected, how in (
        (together, alone, "in a batch"),
        (backwards[::-1], alone, "in another order"),
        (pair, alone[:2], "in a batch of two"),
    ):
        difference = subject.relative(found, expected)
        assert difference <= SAME, (
            f"{how}, scores differ by {difference:.2g} of their range, expected the same as alone"
        )


def the_input_is_left_alone(subject: Subject) -> None:
    """Scoring does not change the images it is given."""
    images = _mixed_images()
    subject.runtime(images)
    assert np.array_equal(images, _mixed_images()), (
        "the runtime changes its input in place, expected a copy to be changed"
    )


_SCORE_ALONE = """
import sys, numpy
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('torch', 'torchvision', 'timm'):
            raise ModuleNotFoundError(f'the runtime imports {name}', name=name)
sys.meta_path.insert(0, Blocked())
from pathlib import Path
from adcli.exports.export import Export
from adcli.specs import load_target
runtime = load_target(sys.argv[1])(Export.open(Path(sys.argv[2])), *sys.argv[4:])
print(*runtime(numpy.load(sys.argv[3]))[0].tolist())
"""


def the_runtime_imports_no_torch(subject: Subject) -> None:
    """Without torch, the folder can be loaded and gives the same scores."""
    images, path = _mixed_images(), subject.new_folder() / "images.npy"
    np.save(path, images)
    expected = subject.runtime(images.copy())[0]
    device = ("cpu",) if subject.spec.devices else ()
    printed = run_python(_SCORE_ALONE, subject.spec.runtime, str(subject.export.path), str(path), *device)
    scores = np.array([float(word) for word in printed.splitlines()[-1].split()])
    difference = subject.relative(scores, expected)
    assert difference <= SAME, f"in another process, scores differ by {difference:.2g} of their range, expected none"


def the_folder_can_be_moved(subject: Subject) -> None:
    """A copy of the folder gives the same scores after the original is deleted."""
    images = _mixed_images()
    expected = np.asarray(subject.runtime(images.copy())[0])
    with tempfile.TemporaryDirectory() as folder:
        written, moved = Path(folder) / "written", Path(folder) / "moved"
        written.mkdir()
        subject.write(written)
        shutil.copytree(written, moved)
        shutil.rmtree(written)
        runtime = subject.load(Export.open(moved))
        difference = subject.relative(runtime(images.copy())[0], expected)
        del runtime
    assert difference <= SAME, f"after moving, scores differ by {difference:.2g} of their range, expected none"


def a_wrong_graph_fails_the_check(subject: Subject) -> None:
    """The check against the original refuses the graph of another model, and one whose scores are all zero."""
    other = subject.original_of(subject.fit(items_of(save_images(subject.new_folder(), 1 - good_images()))))

    def zero(images: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        scores, maps = subject.runtime(images)
        return np.zeros_like(scores), maps

    tolerance = Tolerance(float(subject.export.facts["tolerance"]))
    for original, runtime in ((other, subject.runtime), (subject.original, zero)):
        try:
            measure(original, runtime, subject.calibration, subject.evidence, tolerance, Silent())
        except ExportError:
            continue
        raise AssertionError(
            f"the tolerance of {tolerance.scores:g} lets a wrong graph pass, expected a small part of the range"
        )


def exporting_is_silent(subject: Subject) -> None:
    """Exporting prints nothing and writes nothing into the current folder."""
    subject.original  # noqa: B018 - fitted before
    folder = subject.new_folder()
    assert_silent(lambda: subject.write(folder))


_ALL: Sequence[Callable[[Subject], None]] = (
    describing_imports_nothing_heavy,
    options_are_documented_and_valid,
    facts_describe_the_graph,
    scores_equal_the_original,
    images_of_other_sizes_are_resized_as_in_training,
    a_score_does_not_depend_on_the_batch,
    the_input_is_left_alone,
    the_runtime_imports_no_torch,
    the_folder_can_be_moved,
    a_wrong_graph_fails_the_check,
    exporting_is_silent,
)

RULES: dict[str, Callable[[Subject], None]] = {rule.__name__: rule for rule in _ALL}
"""Every rule, by name."""
