"""The rules for models. A rule is a function whose docstring says what it promises."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from adcli._plugins.registry import Plugin, Provided, registry
from adcli.data.decoding import Size
from adcli.data.samples import Sample
from adcli.data.source import ImageSource, items_of
from adcli.nn import distributed
from adcli.nn.batches import Batches, Session
from adcli.nn.devices import make_repeatable
from adcli.nn.model import Model, Scores
from adcli.nn.restoring import build_model
from adcli.options import Options
from adcli.specs import ModelSpec, load_target
from adcli.testing._failures import UnmetError, made_once
from adcli.testing._places import declared, packages
from adcli.testing.assertions import Traces, assert_described_lightly, assert_documented, assert_silent, traces
from adcli.testing.processes import run_together

SIZE = (64, 64)
OTHER_SIZES = ((64, 32), (61, 45))
COUNT = 12
KNOWN = 6
"""How many of the damaged images are known defects."""

STANDS_OUT = 0.9
"""Share of pairs of a good image and a defect of a known kind in which the defect scores higher, at least."""

Known = Literal["masked", "unmasked"]
"""Whether known defects have masks."""

SAME = 1e-5
"""Largest difference between scores that are the same, relative to their range."""

EXPORTED = 1e-4
"""The same for a traced model."""

SHARED_OUT = 1e-4
"""The same for a model that two processes fitted in one pass."""

LEFT = 0.5
"""Share of the way from the scores before an update to those of a fit of all images that may be left after it."""

AS_GOOD = 0.5
"""Share of the advantage over chance, in AUROC, that a model keeps when two processes train it: batch norms over half
as many images, of the few there are here, can change much of what is learnt."""


class Subject:
    """A model under test, fitted once for all rules that only look at it."""

    def __init__(self, provided: Provided[ModelSpec], options: Mapping[str, Any]) -> None:
        self.provided = provided
        self.spec = provided.spec
        self.options = {**provided.spec.quick, **options}

    def build(self, size: Size = SIZE, *, pretrained: bool = True) -> Model:
        """Make the model with its quick options, and those that the test gives."""
        make_repeatable(0)
        return build_model(self.provided, self.spec.options.parse(self.options), size, pretrained=pretrained)

    def fit(self, size: Size = SIZE, *, batch_size: int = 4, known: Known | None = None) -> Model:
        """Make and fit a model; perhaps to known defects, too."""
        model = self.build(size)
        with tempfile.TemporaryDirectory() as folder:
            paths = save_images(Path(folder), good_images())
            defects = [] if known is None else save_defects(Path(folder), masked=known == "masked")
            source = ImageSource(size, workers=0)
            model.fit(Batches(items_of(paths), source, batch_size=batch_size, defects=defects))
        return model.eval()

    def learn(self, model: Model, images: Tensor, *, more: bool = False) -> Model:
        """Fit a model to images as one that is to be updatable, or have it learn more."""
        make_repeatable(0)
        with tempfile.TemporaryDirectory() as folder:
            items = items_of(save_images(Path(folder), images))
            source, session = ImageSource(SIZE, workers=0), Session(updatable=True)
            (model.update if more else model.fit)(Batches(items, source, batch_size=4, session=session))
        return model.eval()

    def reopen(self, model: Model) -> Model:
        """Return a fitted model as a run has it: what was saved, and nothing else."""
        saved = [safetensors.torch.load(safetensors.torch.save(part)) for part in (model.weights(), model.kept)]
        restored = self.build(pretrained=False)
        restored.restore(saved[0])
        restored.kept = saved[1]
        return restored

    @made_once
    def updated(self) -> Model:
        """The model fitted to one half of some images, saved, and updated with the other."""
        first, second = halves()
        return self.learn(self.reopen(self.learn(self.build(), first)), second, more=True)

    @made_once
    def fitted(self) -> Model:
        """The fitted model."""
        return self.fit()

    @made_once
    def second(self) -> tuple[Model, Traces]:
        """The model fitted again, and what that printed or wrote; trained models take seconds for each fit."""
        fitted: list[Model] = []
        found = traces(lambda: fitted.append(self.fit()))
        return fitted[0], found

    def scores(self, images: Tensor, model: Model | None = None) -> Scores:
        """Score a copy of images, so that no model can change them for others."""
        model = model or self.fitted  # Fitted before gradients are switched off.
        with torch.inference_mode():
            return as_scores(model(images.clone()), images)

    def spread(self) -> float:
        """Return the range of the scores of good and damaged images."""
        scores = self.scores(torch.cat([good_images(), damaged_images()])).image
        return float(scores.max() - scores.min())


def as_scores(found: Any, images: Tensor) -> Scores:
    """Return what ``forward`` returned for images if rules can look at it, else fail in words."""
    expected = "expected adcli.nn.Scores(image, map)"
    if not isinstance(found, Scores):
        raise UnmetError(f"forward returned {_describe(found)}, {expected}")
    for name, tensor in found._asdict().items():
        if not (isinstance(tensor, Tensor) or (name == "map" and tensor is None)):
            wanted = "a Tensor" if name == "image" else "a Tensor or None"
            raise UnmetError(f"forward returned Scores whose {name} is {_describe(tensor)}, expected {wanted}")
        if tensor is not None and tensor.device != images.device:
            raise UnmetError(
                f"forward returned a {name} on {tensor.device}, expected {images.device}, where the images are"
            )
    if found.image.shape != (len(images),):
        found_shape = tuple(found.image.shape)
        raise UnmetError(
            f"forward returned image scores of shape {found_shape} for {len(images)} images, expected (N,)"
        )
    return found


def _describe(value: Any) -> str:
    """Return the type of a value, and the shape of a tensor, in words."""
    if isinstance(value, Tensor):
        return f"a Tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


_subjects: dict[str, Subject] = {}


def subject_of(model: str | ModelSpec, options: Mapping[str, Any] | None = None) -> Subject:
    """Return the subject of a model's name or spec and options on top of its quick ones, the same one each time."""
    name = model if isinstance(model, str) else model.target
    key = f"{name} {sorted((options or {}).items())}"
    if key not in _subjects:
        provided = registry().models[model] if isinstance(model, str) else unregistered(model)
        _subjects[key] = Subject(provided, options or {})
    return _subjects[key]


def unregistered(spec: ModelSpec) -> Provided[ModelSpec]:
    """Return a spec that no plugin offers as if one did."""
    return Provided(spec, Plugin("test", "test", "0"))


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


def halves() -> tuple[Tensor, Tensor]:
    """Return two lots of good images, the second in brighter light."""
    images = good_images()
    return images[: COUNT // 2], (images[COUNT // 2 :] + 0.15).clip(0, 1)


def damaged_images(size: Size = SIZE, count: int = COUNT) -> Tensor:
    """Return the good images with a black and white hatch in one place each."""
    images = good_images(size, count)
    for image, (top, left) in zip(images, _damaged_corners(size, count), strict=True):
        image[:, top : top + 16, left : left + 16] = 0
        image[:, top : top + 16 : 3, left : left + 16] = 1
    return images


def _damaged_corners(size: Size, count: int) -> list[tuple[int, int]]:
    return [((i * 7) % (size[0] - 20), (i * 11) % (size[1] - 20)) for i in range(count)]


def save_images(folder: Path, images: Tensor, start: int = 0) -> list[Path]:
    """Write images (N, 3, H, W) as PNG files, numbered from ``start``."""
    paths = []
    for i, image in enumerate(images, start):
        path = folder / f"{i:02}.png"
        Image.fromarray(np.rint(255 * image.permute(1, 2, 0).numpy()).astype(np.uint8)).save(path)
        paths.append(path)
    return paths


def save_defects(folder: Path, *, masked: bool) -> list[Sample]:
    """Write the first half of the damaged images, with their masks or without, and return them as known defects."""
    samples = []
    for i, (top, left) in enumerate(_damaged_corners(SIZE, COUNT)[:KNOWN]):
        (image,) = save_images(folder, damaged_images()[i : i + 1], COUNT + i)
        mask = np.zeros(SIZE, np.uint8)
        mask[top : top + 16, left : left + 16] = 255
        if masked:
            Image.fromarray(mask).save(folder / f"{i}_mask.png")
        samples.append(Sample(image, "defect", folder / f"{i}_mask.png" if masked else None, "hatch"))
    return samples


def scores_of_two_processes(spec: ModelSpec, options: Options) -> list[Tensor]:
    """Fit in two processes, each with half the batch, and return each one's scores of good and damaged images."""
    classes = (spec.target, f"{spec.options.__module__}:{spec.options.__qualname__}")
    values = json.dumps(options.to_dict(), default=str)
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"{folder}/{i}.safetensors" for i in range(2)]
        run_together("adcli.testing.models:fit_and_score", [(*classes, values, output) for output in outputs])
        return [safetensors.torch.load_file(output)["scores"] for output in outputs]


def fit_and_score(target: str, options_class: str, values: str, output: str) -> None:
    """Fit as one of several processes and write the scores; what each process runs.

    Args:
        target: of the model's spec.
        options_class: likewise, as ``"package.module:Name"``.
        values: the options, as JSON.
        output: file to write.
    """
    torch.set_num_threads(1)
    spec = ModelSpec(name="checked", target=target, options=load_target(options_class), summary="")
    subject = Subject(unregistered(spec), json.loads(values))
    with distributed.joined():
        model = subject.fit(batch_size=2)
        scores = subject.scores(torch.cat([good_images(), damaged_images()]), model).image
    safetensors.torch.save_file({"scores": scores.contiguous()}, output)


def packages_of(subject: Subject) -> set[str]:
    """Return the packages that a model's code is in."""
    return packages(subject.provided, subject.spec.target)


_LOOKED_AT = {
    "fitting_is_repeatable": "fit",
    "fitting_is_silent": "fit",
    "two_processes_agree_with_one": "fit",
    "known_defects_are_learnt": "fit",
    "the_state_round_trips": "__init__",
    "an_update_comes_near_a_fit_of_all": "update",
    "an_update_needs_what_is_saved_alone": "update",
}
"""The method that a rule is about, unless it is ``forward``."""


def looked_at(subject: Subject, rule: str) -> Any:
    """Return the method, or what describes the model, that a rule is about."""
    if rule in ("describing_imports_nothing_heavy", "options_are_documented_and_valid"):
        return declared(subject.provided)
    model = load_target(subject.spec.target)
    return getattr(model, _LOOKED_AT.get(rule, "forward"), model)


def _assert_same(found: Tensor, expected: Tensor, spread: float, tolerance: float, what: str) -> None:
    shapes = f"shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
    assert found.shape == expected.shape, f"{what}: scores have {shapes}"
    difference = float((found - expected).abs().max()) / max(spread, 1e-12)
    assert difference <= tolerance, f"{what}: scores differ by {difference:.2g} of their range, above {tolerance:g}"


def _assert_same_scores(found: Scores, expected: Scores, spread: float, tolerance: float, what: str) -> None:
    """Compare scores, and maps relative to their own range."""
    _assert_same(found.image, expected.image, spread, tolerance, what)
    assert (found.map is None) == (expected.map is None), f"{what}: expected maps with both or with neither"
    if found.map is not None and expected.map is not None:
        map_spread = float(expected.map.max() - expected.map.min())
        _assert_same(found.map, expected.map, map_spread, tolerance, f"{what}, maps")


def describing_imports_nothing_heavy(subject: Subject) -> None:
    """Describing the model imports neither torch nor numpy."""
    assert_described_lightly(subject.provided.plugin, subject.spec.options, ("torch", "numpy"))


def options_are_documented_and_valid(subject: Subject) -> None:
    """Name and summary are given, every option has help, and defaults, quick and demo options are valid."""
    spec = subject.spec
    assert_documented(spec)
    for values in ({}, subject.options, {**spec.quick, **spec.demo}):
        spec.options.parse(values)
    target = load_target(spec.target)
    is_model = isinstance(target, type) and issubclass(target, Model)
    assert is_model, f"target {spec.target} is {type(target).__name__}, expected a subclass of adcli.nn.Model"


def scores_have_the_shapes_of_the_task(subject: Subject) -> None:
    """Scores are finite float32, one per image, with maps (N, 1, H, W) if and only if the task is segmentation."""
    scores = subject.scores(good_images()[:3])
    task = subject.spec.task
    wanted = "a map (N, 1, H, W)" if task == "segmentation" else "no map"
    found = "no map" if scores.map is None else "a map"
    assert (scores.map is not None) == (task == "segmentation"), f"task is {task}, expected {wanted}, found {found}"
    if scores.map is not None:
        _assert_map_fits(scores.map, (3, 1, *SIZE))
    for name, tensor in (("image", scores.image), ("map", scores.map)):
        if tensor is not None:
            assert tensor.dtype == torch.float32, f"Scores.{name} is {tensor.dtype}, expected torch.float32"
            strange = int((~torch.isfinite(tensor)).sum())
            assert not strange, f"Scores.{name}: expected finite values, {strange} of {tensor.numel()} are not"


def _assert_map_fits(found: Tensor, expected: tuple[int, ...]) -> None:
    shape, size = tuple(found.shape), f"{expected[2]} x {expected[3]}"
    assert shape == expected, f"the map of {expected[0]} images of {size} has shape {shape}, expected {expected}"


def a_score_does_not_depend_on_the_batch(subject: Subject) -> None:
    """An image's score is the same alone, in any batch, in any order, and next to copies of itself."""
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
        assert single is not None, "an image alone gets no map, expected one as in a batch"
        map_spread = float(together.map.max() - together.map.min())
        _assert_same(single[0], together.map[0], map_spread, SAME, "maps alone and in a batch")


def scoring_changes_nothing(subject: Subject) -> None:
    """Scoring the same images again gives identical scores, and leaves parameters and buffers as they were fitted."""
    images, before = damaged_images()[:3], subject.fitted.weights()
    first, second = subject.scores(images), subject.scores(images)
    apart = float((first.image - second.image).abs().max())
    assert torch.equal(first.image, second.image), f"the second time, expected equal scores, they are {apart:.2g} apart"
    changed = [name for name, tensor in subject.fitted.weights().items() if not _equal(tensor, before[name])]
    assert not changed, f"forward changes {', '.join(changed)}, expected all parameters and buffers as after fit"


def _equal(found: Tensor, expected: Tensor) -> bool:
    return torch.equal(torch.nan_to_num(found), torch.nan_to_num(expected))


def the_layout_in_memory_does_not_matter(subject: Subject) -> None:
    """Images stored channels-last, as batches store them, get the same scores as other images."""
    images, model = damaged_images()[:3], subject.fitted
    with torch.inference_mode():
        found = as_scores(model(images.contiguous(memory_format=torch.channels_last)), images)
    _assert_same_scores(found, subject.scores(images), subject.spread(), EXPORTED, "channels-last")


def the_input_is_left_alone(subject: Subject) -> None:
    """Scoring does not change the images it is given."""
    images, model = good_images()[:2], subject.fitted
    with torch.inference_mode():
        model(images)
    assert torch.equal(images, good_images()[:2]), "forward changes its input in place, expected a copy to be changed"


def fitting_is_repeatable(subject: Subject) -> None:
    """Fitting twice with one seed gives identical scores."""
    images = damaged_images()[:4]
    first, second = subject.scores(images).image, subject.scores(images, subject.second[0]).image
    apart = f"{float((first - second).abs().max()):.2g}"
    assert torch.equal(first, second), f"fitted twice with one seed, expected equal scores, they are {apart} apart"


def the_state_round_trips(subject: Subject) -> None:
    """A model made without pretrained weights scores as the fitted one does, once it is given the saved weights."""
    saved = safetensors.torch.load(safetensors.torch.save(subject.fitted.weights()))
    restored = subject.build(pretrained=False)
    forgotten = _list_unsaved(subject.fitted, restored)
    restored.restore(saved)
    images = damaged_images()[:4]
    expected = subject.scores(images)
    try:
        _assert_same_scores(subject.scores(images, restored), expected, subject.spread(), SAME, "after restoring")
    except Exception as error:
        if not forgotten:
            raise
        raise AssertionError(
            f"fit learns {' and '.join(forgotten)}, which is not saved: expected a buffer, made in __init__ by "
            f"self.register_buffer({forgotten[0].rpartition('.')[2]!r}, torch.empty(0))"
        ) from error


def _list_unsaved(fitted: Model, fresh: Model) -> list[str]:
    """Return the attributes that fit has changed, and that no state holds."""
    known = dict(fresh.named_modules())
    pairs = ((name, module, known.get(name)) for name, module in fitted.named_modules())
    names = chain.from_iterable(_list_changed(name, module, other) for name, module, other in pairs if other)
    return sorted(names)


def _list_changed(prefix: str, module: torch.nn.Module, fresh: torch.nn.Module) -> list[str]:
    values = (Tensor, np.ndarray, int, float, list, tuple, dict)
    before = {name: repr(value) for name, value in vars(fresh).items()}
    return [
        f"{prefix}.{name}" if prefix else name
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "training" and isinstance(value, values)
        if before.get(name) != repr(value)
    ]


def damage_scores_higher(subject: Subject) -> None:
    """Damaged images score higher than the same images undamaged."""
    good, damaged = subject.scores(good_images()).image, subject.scores(damaged_images()).image
    higher = int((damaged > good).sum())
    assert higher >= COUNT - 1, f"expected damaged images to score higher than undamaged, {higher} of {COUNT} do"
    mean, highest = float(damaged.mean()), float(good.max())
    assert mean > highest, (
        f"damaged images score {mean:.3g} on average, expected more than any good one ({highest:.3g})"
    )


def forward_can_be_exported(subject: Subject) -> None:
    """``torch.export`` traces forward with a dynamic batch, and the result agrees for other batch sizes."""
    images = torch.cat([good_images(), damaged_images()])
    subject.scores(images)  # What cannot be looked at need not be traced.
    batch = torch.export.Dim("batch", min=2, max=1024)
    with torch.no_grad():
        exported = torch.export.export(subject.fitted, (images[:3],), dynamic_shapes=({0: batch},))
        for count in (2, 7):
            traced = as_scores(exported.module()(images[-count:]), images[-count:])
            expected = subject.scores(images[-count:])
            _assert_same_scores(traced, expected, subject.spread(), EXPORTED, f"exported, batch of {count}")


def other_sizes_work(subject: Subject) -> None:
    """A model can be fitted to, and can score, images that are not square or have odd sizes."""
    for size in OTHER_SIZES:
        scores = subject.scores(good_images(size)[:2], subject.fit(size))
        if scores.map is not None:
            _assert_map_fits(scores.map, (2, 1, *size))


def known_defects_are_learnt(subject: Subject) -> None:
    """If it learns from defects, known ones change it, with masks or without, and others of their kind stand out."""
    if not subject.spec.learns_from_defects:
        return
    images = torch.cat([good_images(), damaged_images()[KNOWN:]])
    before = subject.scores(images).image
    for known in get_args(Known):
        found = subject.scores(images, subject.fit(known=known)).image
        apart = float((found - before).abs().max()) / max(subject.spread(), 1e-12)
        assert apart > SAME, (
            f"{known} known defects change no score; read them from adcli.nn.LabelledBatches(batches) if there are "
            "batches.defects, or leave out learns_from_defects"
        )
        higher = float((found[COUNT:, None] > found[:COUNT]).double().mean())
        assert higher >= STANDS_OUT, (
            f"of pairs of a good image and a defect of a kind that is known, {known}, the defect scores higher in "
            f"{higher:.0%}, expected at least {STANDS_OUT:.0%}"
        )


def fitting_is_silent(subject: Subject) -> None:
    """Fitting and scoring print nothing and write nothing into the current folder."""
    model, found = subject.second
    found.assert_none()
    assert_silent(lambda: subject.scores(good_images()[:1], model))


def two_processes_agree_with_one(subject: Subject) -> None:
    """Two processes that share the batches end with one model; of one pass, it scores as if fitted by one process."""
    images = torch.cat([good_images(), damaged_images()])
    expected = subject.scores(images).image
    options = subject.spec.options.parse(subject.options)
    first, second = scores_of_two_processes(subject.spec, options)
    advice = (
        "fit joins nothing of what the processes find: add up with distributed.reduce_sum of adcli.nn, or gather, what "
        "comes from batches.sharded(), train with optimise, or iterate batches, of which each process gets all"
    )
    spread = max(subject.spread(), 1e-12)
    apart = float((first - second).abs().max()) / spread
    assert apart <= SAME, f"the processes end with different models, {apart:.2g} of the scores' range apart; {advice}"
    if subject.spec.one_pass:
        wrong = float((first - expected).abs().max()) / spread
        assert wrong <= SHARED_OUT, f"scores are {wrong:.2g} of their range off, above {SHARED_OUT:g}; {advice}"
        return
    found, alone = _auroc(first), _auroc(expected)
    kept = found - 0.5 >= AS_GOOD * (alone - 0.5)
    assert kept, f"trained by two processes, the AUROC is {found:.3f}, by one {alone:.3f}"


def an_update_comes_near_a_fit_of_all(subject: Subject) -> None:
    """If a model is updatable, it scores after an update nearly as one that was fitted to all images at once."""
    if subject.spec.updatable == "no":
        return
    first, second = halves()
    alone, both = (subject.learn(subject.build(), images) for images in (first, torch.cat([first, second])))
    found, before, expected = (subject.scores(second, model).image for model in (subject.updated, alone, both))
    left, gap = float((found - expected).abs().mean()), float((before - expected).abs().mean())
    assert left <= LEFT * gap, (
        f"an update takes scores of new good images from {gap:.2g} to {left:.2g} of those of a fit of all; expected "
        f"{LEFT:g} of the way to be left at most"
    )


def an_update_needs_what_is_saved_alone(subject: Subject) -> None:
    """If a model is updatable, it learns the same from what a run saves of it, and keeps no more than asked."""
    kind = subject.spec.updatable
    if kind == "no":
        return
    first, second = halves()
    model = subject.learn(subject.build(), first)
    wants = "kept for updates" if kind == "kept" else "kept by a model that is always updatable"
    assert bool(model.kept) == (kind == "kept"), f"{sorted(model.kept) or 'nothing'} is {wants}"
    assert not subject.fitted.kept, f"{sorted(subject.fitted.kept)} is kept without --updatable, expected nothing"
    expected = subject.scores(second, subject.learn(model, second, more=True))
    found = subject.scores(second, subject.updated)
    _assert_same_scores(found, expected, subject.spread(), SAME, "updated after saving")


def _auroc(scores: Tensor) -> float:
    """Return the share of pairs of a good and a damaged image in which the damaged one scores higher."""
    good, damaged = scores[:COUNT], scores[COUNT:]
    return float((damaged[:, None] > good).double().mean())


_ALL: Sequence[Callable[[Subject], None]] = (
    describing_imports_nothing_heavy,
    options_are_documented_and_valid,
    scores_have_the_shapes_of_the_task,
    a_score_does_not_depend_on_the_batch,
    scoring_changes_nothing,
    the_layout_in_memory_does_not_matter,
    the_input_is_left_alone,
    fitting_is_repeatable,
    the_state_round_trips,
    damage_scores_higher,
    forward_can_be_exported,
    other_sizes_work,
    known_defects_are_learnt,
    fitting_is_silent,
    two_processes_agree_with_one,
    an_update_comes_near_a_fit_of_all,
    an_update_needs_what_is_saved_alone,
)

RULES: dict[str, Callable[[Subject], None]] = {rule.__name__: rule for rule in _ALL}
"""Every rule, by name."""
