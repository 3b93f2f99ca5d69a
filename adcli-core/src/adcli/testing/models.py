"""The rules for models. A rule is a function whose docstring says what it promises."""

import contextlib
import io
import os
import pickle
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from adcli import distributed
from adcli.data.batches import Batches
from adcli.data.decoding import Size
from adcli.data.images import ImageSource
from adcli.model import Model, Scores
from adcli.options import Options
from adcli.pipeline.preparation import build_model, make_repeatable
from adcli.registry import Plugin, Provided, registry
from adcli.specs import ExporterSpec, ModelSpec, load_target

SIZE = (64, 64)
OTHER_SIZES = ((96, 64), (75, 61))
COUNT = 12
SAME = 1e-5
"""Largest difference between scores that are the same, relative to their range."""

EXPORTED = 1e-4
"""The same for a traced model."""

SHARED_OUT = 1e-4
"""The same for a model that two processes fitted in one pass."""

AS_GOOD = 0.01
"""Largest difference of the AUROC, for a model that two processes trained."""


class Subject:
    """A model under test, fitted once for all rules that only look at it."""

    def __init__(self, provided: Provided[ModelSpec]) -> None:
        self.provided = provided
        self.spec = provided.spec

    def build(self, size: Size = SIZE, *, pretrained: bool = True) -> Model:
        """Make the model with its quick options."""
        make_repeatable(0)
        options = self.spec.options.parse(self.spec.quick)
        return build_model(self.provided, options, size, pretrained=pretrained)

    def fit(self, size: Size = SIZE, *, batch_size: int = 4) -> Model:
        """Make and fit a model."""
        model = self.build(size)
        with tempfile.TemporaryDirectory() as folder:
            paths = write_images(Path(folder), good_images())
            model.fit(Batches(paths, ImageSource(size, workers=0), batch_size=batch_size))
        return model.eval()

    @cached_property
    def fitted(self) -> Model:
        """The fitted model."""
        return self.fit()

    def scores(self, images: Tensor, model: Model | None = None) -> Scores:
        """Score a copy of images, so that no model can change them for others."""
        model = model or self.fitted  # Fitted before gradients are switched off.
        with torch.inference_mode():
            return Scores(*model(images.clone()))

    def spread(self) -> float:
        """Return the range of the scores of good and damaged images."""
        scores = self.scores(torch.cat([good_images(), damaged_images()])).image
        return float(scores.max() - scores.min())


_subjects: dict[str, Subject] = {}


def subject_of(model: str | ModelSpec) -> Subject:
    """Return the subject of a model's name or spec, the same one each time."""
    if isinstance(model, str):
        return _subjects.setdefault(model, Subject(registry().models[model]))
    return _subjects.setdefault(model.target, Subject(Provided(model, Plugin("test", "test", "0"))))


def good_images(size: Size = SIZE, count: int = COUNT) -> Tensor:
    """Return good images (N, 3, H, W) that differ in light, phase and noise; no two are alike."""
    height, width = size
    random = np.random.default_rng(7)
    y, x = np.mgrid[:height, :width]
    images = []
    for _ in range(count):
        waves = np.sin(x / 5 + random.uniform(0, 6)) * np.cos(y / 7 + random.uniform(0, 6))
        image = random.uniform(0.4, 0.5) + 0.1 * waves + random.normal(0, 0.02, size)
        disc = np.hypot(y - height / 2 - random.uniform(-2, 2), x - width / 2 - random.uniform(-2, 2)) < width / 4
        image[disc] += 0.25
        images.append(np.stack([image, image * 0.95, image * 0.9]).clip(0, 1))
    return torch.from_numpy(np.stack(images)).float()


def damaged_images(size: Size = SIZE, count: int = COUNT) -> Tensor:
    """Return the good images with a black and white hatch in one place each."""
    images = good_images(size, count)
    for i, image in enumerate(images):
        top, left = (i * 7) % (size[0] - 20), (i * 11) % (size[1] - 20)
        image[:, top : top + 16, left : left + 16] = 0
        image[:, top : top + 16 : 3, left : left + 16] = 1
    return images


def write_images(folder: Path, images: Tensor, start: int = 0) -> list[Path]:
    """Write images (N, 3, H, W) as PNG files, numbered from ``start``."""
    paths = []
    for i, image in enumerate(images, start):
        path = folder / f"{i:02}.png"
        Image.fromarray(np.rint(255 * image.permute(1, 2, 0).numpy()).astype(np.uint8)).save(path)
        paths.append(path)
    return paths


def _assert_same(found: Tensor, expected: Tensor, spread: float, tolerance: float, what: str) -> None:
    difference = float((found - expected).abs().max()) / max(spread, 1e-12)
    assert difference <= tolerance, f"{what}: scores differ by {difference:.2g} of their range, above {tolerance:g}"


def describing_imports_nothing_heavy(subject: Subject) -> None:
    """Describing the model imports neither torch nor numpy."""
    assert_described_lightly(subject.spec.options)


def assert_described_lightly(options: type[Options]) -> None:
    """Check in a process of its own that loading the plugins and describing options imports nothing heavy."""
    code = (
        "import sys, importlib\nfrom adcli.registry import load\n"
        f"load()\nimportlib.import_module({options.__module__!r}).{options.__name__}.describe()\n"
        "print([name for name in ('torch', 'numpy') if name in sys.modules])"
    )
    printed = run_python(code).strip()
    assert printed == "[]", f"the plugin's module imports {printed}: move that to its target"


def run_python(code: str, *arguments: str) -> str:
    """Return what code prints in a process of its own, which finds the same modules; fails with its last line."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
    return done.stdout


def options_are_documented_and_valid(subject: Subject) -> None:
    """Name and summary are given, every option has help, and defaults, quick and demo options are valid."""
    spec = subject.spec
    assert_documented(spec)
    for values in ({}, spec.quick, {**spec.quick, **spec.demo}):
        spec.options.parse(values)
    assert issubclass(load_target(spec.target), Model), f"{spec.target} is no adcli.model.Model"


def assert_documented(spec: ModelSpec | ExporterSpec) -> None:
    """Check that a spec has a name as users type it, a summary, and help for every option."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*", spec.name), f"name '{spec.name}' is not lower case with underscores"
    assert spec.summary, "the spec has no summary"
    silent = [info.name for info in spec.options.describe() if not info.help]
    assert not silent, f"options without help: {silent}"


def scores_have_the_shapes_of_the_task(subject: Subject) -> None:
    """Scores are finite float32, one per image, with maps (N, 1, H, W) if and only if the task is segmentation."""
    images = good_images()[:3]
    scores = subject.scores(images)
    assert scores.image.shape == (3,), f"image scores have shape {tuple(scores.image.shape)}, not (3,)"
    maps = [] if scores.map is None else [scores.map]
    assert len(maps) == (subject.spec.task == "segmentation"), f"task is {subject.spec.task}, maps: {len(maps)}"
    for tensor in (scores.image, *maps):
        assert tensor.dtype == torch.float32, f"scores are {tensor.dtype}"
        assert torch.isfinite(tensor).all(), "scores are not all finite"
    for found in maps:
        assert found.shape == (3, 1, *SIZE), f"the map has shape {tuple(found.shape)}, not {(3, 1, *SIZE)}"


def a_score_does_not_depend_on_the_batch(subject: Subject) -> None:
    """An image's score is the same alone, in any batch, in any order, and beside copies of itself."""
    # Of a homogeneous batch all statistics are alike, which would hide a dependence.
    images = torch.cat([good_images()[:4], damaged_images()[4:8]])
    together, spread = subject.scores(images), subject.spread()
    alone = torch.cat([subject.scores(image[None]).image for image in images])
    _assert_same(alone, together.image, spread, SAME, "alone and in a batch")
    backwards = subject.scores(images.flip(0)).image.flip(0)
    _assert_same(backwards, together.image, spread, SAME, "in another order")
    repeated = subject.scores(images[[5, 5, 0]]).image
    _assert_same(repeated, together.image[[5, 5, 0]], spread, SAME, "beside copies")
    if together.map is not None:
        single = subject.scores(images[:1]).map
        assert single is not None
        map_spread = float(together.map.max() - together.map.min())
        _assert_same(single[0], together.map[0], map_spread, SAME, "maps alone and in a batch")


def the_input_is_left_alone(subject: Subject) -> None:
    """Scoring does not change the images it is given."""
    images, model = good_images()[:2], subject.fitted
    with torch.inference_mode():
        model(images)
    assert torch.equal(images, good_images()[:2]), "forward changes its input in place"


def fitting_is_repeatable(subject: Subject) -> None:
    """Fitting twice with one seed gives identical scores."""
    images = damaged_images()[:4]
    first, second = subject.scores(images).image, subject.scores(images, subject.fit()).image
    assert torch.equal(first, second), f"scores differ by up to {float((first - second).abs().max()):.2g}"


def the_state_round_trips(subject: Subject) -> None:
    """A model made without pretrained weights and given the saved ones scores as the fitted one does."""
    saved = safetensors.torch.load(safetensors.torch.save(subject.fitted.weights()))
    restored = subject.build(pretrained=False)
    restored.restore(saved)
    images = damaged_images()[:4]
    _assert_same(
        subject.scores(images, restored).image, subject.scores(images).image, subject.spread(), SAME, "after restoring"
    )


def damage_scores_higher(subject: Subject) -> None:
    """Damaged images score higher than the same images undamaged."""
    good, damaged = subject.scores(good_images()).image, subject.scores(damaged_images()).image
    higher = int((damaged > good).sum())
    assert higher >= COUNT - 1, f"of {COUNT} damaged images only {higher} score higher than undamaged"
    assert damaged.mean() > good.max(), "damaged images do not score above all good ones on average"


def forward_can_be_exported(subject: Subject) -> None:
    """``torch.export`` traces forward with a dynamic batch, and the result agrees for other batch sizes."""
    images = torch.cat([good_images(), damaged_images()])
    batch = torch.export.Dim("batch", min=2, max=1024)
    with torch.no_grad():
        exported = torch.export.export(subject.fitted, (images[:3],), dynamic_shapes=({0: batch},))
        for count in (2, 7):
            traced = exported.module()(images[-count:])
            expected = subject.scores(images[-count:])
            _assert_same(traced[0], expected.image, subject.spread(), EXPORTED, f"exported, batch of {count}")


def other_sizes_work(subject: Subject) -> None:
    """Images that are not square, or of odd sizes, can be fitted and scored."""
    for size in OTHER_SIZES:
        scores = subject.scores(good_images(size)[:2], subject.fit(size))
        assert scores.image.shape == (2,)
        if scores.map is not None:
            assert scores.map.shape == (2, 1, *size), f"at {size} the map has shape {tuple(scores.map.shape)}"


def fitting_is_silent(subject: Subject) -> None:
    """Fitting prints nothing and writes nothing into the current folder."""
    assert_silent(lambda: subject.scores(good_images()[:1], subject.fit()))


def assert_silent(action: Callable[[], object]) -> None:
    """Check that something prints nothing and writes nothing into the current folder."""
    printed, before = io.StringIO(), Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                action()
            written = [path.name for path in Path(folder).iterdir()]
        finally:
            os.chdir(before)
    assert not printed.getvalue(), f"printed: {printed.getvalue()[:80]!r}"
    assert not written, f"written: {written}"


def two_processes_agree_with_one(subject: Subject) -> None:
    """Two processes that share out the batches end with one model, and it scores as one process's does."""
    images = torch.cat([good_images(), damaged_images()])
    expected = subject.scores(images).image
    first, second = _scores_of_two_processes(subject.spec)
    advice = (
        "fit joins nothing of what the processes find: add up with adcli.distributed.reduce_sum, or gather, what comes "
        "from batches.sharded(), train with adcli.training.optimise, or iterate batches, of which each process gets all"
    )
    spread = max(subject.spread(), 1e-12)
    apart = float((first - second).abs().max()) / spread
    assert apart <= SAME, f"the processes end with different models, {apart:.2g} of the scores' range apart; {advice}"
    if subject.spec.one_pass:
        wrong = float((first - expected).abs().max()) / spread
        assert wrong <= SHARED_OUT, f"scores are {wrong:.2g} of their range off, above {SHARED_OUT:g}; {advice}"
        return
    found, alone = _auroc(first), _auroc(expected)
    assert abs(found - alone) <= AS_GOOD, f"trained by two processes, the AUROC is {found:.3f}, by one {alone:.3f}"


def _auroc(scores: Tensor) -> float:
    """Return the share of pairs of a good and a damaged image in which the damaged one scores higher."""
    good, damaged = scores[:COUNT], scores[COUNT:]
    return float((damaged[:, None] > good).double().mean())


def _scores_of_two_processes(spec: ModelSpec) -> list[Tensor]:
    """Fit in two processes, each with half the batch, and return each one's scores of good and damaged images."""
    code = (
        "import sys\nfrom adcli.testing.models import score_as_one_of_several\n"
        "score_as_one_of_several(sys.argv[1], sys.argv[2])"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "spec").write_bytes(pickle.dumps(spec))
        outputs = [folder / f"{i}.safetensors" for i in range(2)]
        started = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(folder / "spec"), str(output)],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for output, environment in zip(outputs, _environments(len(outputs)), strict=True)
        ]
        said = [process.communicate()[1].strip().splitlines()[-1:] for process in started]
        assert not any(process.returncode for process in started), f"fitting in two processes failed: {said}"
        return [safetensors.torch.load_file(output)["scores"] for output in outputs]


def _environments(count: int) -> list[dict[str, str]]:
    """Return what torchrun sets for processes that meet at a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    return [{**common, "RANK": str(i), "LOCAL_RANK": str(i)} for i in range(count)]


def score_as_one_of_several(spec: str, output: str) -> None:
    """Fit as one of two processes and write the scores; what the rule runs, twice at a time.

    Args:
        spec: file with the pickled spec of the model, from the process that started this one.
        output: file to write.
    """
    torch.set_num_threads(1)
    subject = subject_of(pickle.loads(Path(spec).read_bytes()))
    with distributed.joined():
        model = subject.fit(batch_size=2)
        scores = subject.scores(torch.cat([good_images(), damaged_images()]), model).image
    safetensors.torch.save_file({"scores": scores.contiguous()}, output)


_ALL: Sequence[Callable[[Subject], None]] = (
    describing_imports_nothing_heavy,
    options_are_documented_and_valid,
    scores_have_the_shapes_of_the_task,
    a_score_does_not_depend_on_the_batch,
    the_input_is_left_alone,
    fitting_is_repeatable,
    the_state_round_trips,
    damage_scores_higher,
    forward_can_be_exported,
    other_sizes_work,
    fitting_is_silent,
    two_processes_agree_with_one,
)

RULES: dict[str, Callable[[Subject], None]] = {rule.__name__: rule for rule in _ALL}
"""Every rule, by name."""
