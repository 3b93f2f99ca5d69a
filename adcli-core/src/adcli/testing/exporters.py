"""The rules for exporters. A rule is a function whose docstring says what it promises."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
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
from adcli.exports.export import Export, ExportSource
from adcli.exports.writing import seal_folder, write_graph
from adcli.nn.batches import Batches
from adcli.nn.model import Model
from adcli.nn.runtime import ModelRuntime
from adcli.pipeline._export import Evidence, measure
from adcli.progress import Silent
from adcli.runs.run import Run
from adcli.runs.settings import TrainSettings
from adcli.scoring.calibration import Calibration
from adcli.scoring.runtime import Runtime, guarded
from adcli.scoring.thresholds import CalibrationPlan, calibrate
from adcli.specs import ExporterSpec, ModelSpec, load_target
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

    @cached_property
    def evidence(self) -> Evidence:
        """Good images, and damaged ones of other sizes than the model's."""
        images = self.folder / "images"
        images.mkdir()
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

    @cached_property
    def original(self) -> ExportSource:
        """The run that is exported."""
        return self.original_of(self.fit(self.evidence.plan.fit))

    @cached_property
    def export(self) -> Export:
        """The exported folder, not compared with the run yet."""
        folder = self.folder / "export"
        self.write(folder)
        return Export.open(folder)

    def write(self, folder: Path) -> None:
        """Export into a folder."""
        folder.mkdir()
        manifest, runtime = write_graph(self.provided, self.spec.options.parse(self.options), self.original, folder)
        del runtime
        run = self.original.run
        seal_folder(folder, manifest, run.calibration)

    def load(self, export: Export) -> Runtime:
        """Load the runtime of an exported folder."""
        load: Callable[[Export], Runtime] = self.provided.load(self.spec.runtime)
        return guarded(lambda: load(export), f"exporter '{self.spec.name}'")

    @cached_property
    def runtime(self) -> Runtime:
        """The exported graph."""
        return self.load(self.export)

    @cached_property
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
        assert callable(load_target(target)), f"{target} cannot be called"


def facts_describe_the_graph(subject: Subject) -> None:
    """The facts list inputs and outputs, each a dictionary with a name."""
    facts: Mapping[str, Any] = subject.export.facts
    for key in ("inputs", "outputs"):
        described = facts[key]
        assert isinstance(described, list), f"'{key}' is not a list: {described!r}"
        assert described, f"'{key}' is empty"
        assert all(isinstance(item, dict) and item.get("name") for item in described), f"'{key}' lacks names"


def scores_equal_the_original(subject: Subject) -> None:
    """Scores are finite float32 and equal the model's within the stated tolerance, maps within ten times as much."""
    tolerance = float(subject.export.facts["tolerance"])
    for image in _mixed_images():
        expected, expected_map = subject.original_runtime(image[None])
        scores, maps = subject.runtime(image[None].copy())
        assert scores.dtype == np.float32, f"scores are {scores.dtype}"
        assert shape(maps) == shape(expected_map), f"maps: {shape(maps)}, not {shape(expected_map)}"
        difference = subject.relative(scores, expected)
        assert difference <= tolerance, f"scores differ by {difference:.2g} of their range, above {tolerance:g}"
        if maps is not None and expected_map is not None:
            difference = float(np.abs(maps - expected_map).max() / np.ptp(expected_map))
            allowed = MAPS * tolerance
            assert difference <= allowed, f"maps differ by {difference:.2g} of their range, above {allowed:g}"


def images_of_other_sizes_are_resized_as_in_training(subject: Subject) -> None:
    """An image of another size scores as it does after the core has resized it."""
    tolerance = float(subject.export.facts["tolerance"])
    for sample in subject.evidence.compared:
        pixels = read_image(sample.image)
        raw, resized = _alone(subject.runtime, pixels[None]), _alone(subject.runtime, resize(pixels, SIZE)[None])
        difference = subject.relative(raw, resized)
        size = f"{pixels.shape[0]} x {pixels.shape[1]}"
        assert difference <= tolerance, f"at {size}, scores differ by {difference:.2g} of their range"


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
        assert difference <= SAME, f"{how}: scores differ by {difference:.2g} of their range"


def the_input_is_left_alone(subject: Subject) -> None:
    """Scoring does not change the images it is given."""
    images = _mixed_images()
    subject.runtime(images)
    assert np.array_equal(images, _mixed_images()), "the runtime changes its input in place"


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
runtime = load_target(sys.argv[1])(Export.open(Path(sys.argv[2])))
print(*runtime(numpy.load(sys.argv[3]))[0].tolist())
"""


def the_runtime_imports_no_torch(subject: Subject) -> None:
    """Without torch, the folder can be loaded and gives the same scores."""
    images, path = _mixed_images(), subject.folder / "images.npy"
    np.save(path, images)
    printed = run_python(_SCORE_ALONE, subject.spec.runtime, str(subject.export.path), str(path))
    scores = np.array([float(word) for word in printed.splitlines()[-1].split()])
    difference = subject.relative(scores, np.asarray(subject.runtime(images.copy())[0]))
    assert difference <= SAME, f"in another process, scores differ by {difference:.2g} of their range"


def the_folder_can_be_moved(subject: Subject) -> None:
    """A copy of the folder gives the same scores after the original is deleted."""
    images = _mixed_images()
    expected = np.asarray(subject.runtime(images.copy())[0])
    with tempfile.TemporaryDirectory() as folder:
        written, moved = Path(folder) / "written", Path(folder) / "moved"
        subject.write(written)
        shutil.copytree(written, moved)
        shutil.rmtree(written)
        runtime = subject.load(Export.open(moved))
        difference = subject.relative(runtime(images.copy())[0], expected)
        del runtime
    assert difference <= SAME, f"after moving, scores differ by {difference:.2g} of their range"


def a_wrong_graph_fails_the_check(subject: Subject) -> None:
    """The check against the original refuses the graph of another model, and one whose scores are all zero."""
    negatives = subject.folder / "negatives"
    negatives.mkdir(exist_ok=True)
    other = subject.original_of(subject.fit(items_of(save_images(negatives, 1 - good_images()))))

    def zero(images: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        scores, maps = subject.runtime(images)
        return np.zeros_like(scores), maps

    tolerance = Tolerance(float(subject.export.facts["tolerance"]))
    for original, runtime in ((other, subject.runtime), (subject.original, zero)):
        try:
            measure(original, runtime, subject.calibration, subject.evidence, tolerance, Silent())
        except ExportError:
            continue
        raise AssertionError(f"a wrong graph passes the check: the tolerance of {tolerance.scores:g} allows anything")


def exporting_is_silent(subject: Subject) -> None:
    """Exporting prints nothing and writes nothing into the current folder."""
    with tempfile.TemporaryDirectory() as folder:
        subject.original  # noqa: B018 - fitted before
        assert_silent(lambda: subject.write(Path(folder) / "silent"))


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
