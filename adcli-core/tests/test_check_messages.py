"""What the check of a plugin says: each cause once, what was expected and found, and where in the plugin's code."""

import importlib
import sys
from pathlib import Path

import pytest

from adcli import BackboneSpec, DatasetSpec, ExporterSpec, ModelSpec, Options
from adcli.specs import Spec
from adcli.testing import Checked, Result, check_plugin

MODEL = """
import torch
from adcli.nn import Model, Scores


class Net(Model):
    def __init__(self, options, *, image_size, pretrained=True):
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        {learnt}

    def fit(self, batches):
        {fit}

    def forward(self, images):  # forward
        distance = (images - self.mean).abs().mean(dim=1, keepdim=True)
        {scored}
"""
LEARNT = 'self.register_buffer("mean", torch.empty(0))'
FIT = "self.mean = sum(images.sum(dim=0) for images in batches) / batches.count"
SCORED = "return Scores(distance.flatten(1).amax(dim=1), distance)"

EXPORTER = """
import numpy as np


def export(source, folder, options):  # export
    np.savez(folder / "mean.npz", mean=source.model.weights()["mean"].permute(1, 2, 0).numpy())
    facts = {{
        "name": "mean_image",
        "file": "mean.npz",
        "precision": "fp32",
        "inputs": [{{"name": "images"}}],
        "outputs": [{{"name": "score"}}],
        "tolerance": 1e-3,
    }}
    {facts}
    return facts


def load(export):  # load
    def score(images):
        {scored}

    {loaded}
    return score
"""

DATASET = """
from adcli import DataError, OptionError, Options, option
from adcli.data import Sample, Splits
from pathlib import Path


class Choices(Options):
    root: Path | None = option(None, "The folder.")


def load(options, category):  # load
    {checked}
    if category is not None:
        raise DataError(f"no category '{{category}}'.")
    images = sorted(options.root.glob("*.png"))
    if not images:
        raise DataError(f"{{options.root}}: no images.")
    {returned}
"""
CHECKED = 'if options.root is None:\n        raise OptionError("needs a folder: -d root=FOLDER.")'
RETURNED = 'return Splits([Sample(path, "good") for path in images])'

BACKBONE = """
import torch
from adcli import OptionError
from adcli.nn import Backbone


class Net(torch.nn.Module):
    def forward(self, images):
        {maps}


def make(argument, request):  # make
    if request.layers != (1,):
        raise OptionError(f"no layers {{request.layers}}, only 1.")
    if request.weights:
        raise OptionError(f"{{request.weights}}: no such file.")
    {made}
"""
MADE = "return Backbone(Net(), channels=(3,), strides=(1,))"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Write the module of a plugin, and return its name; it can be imported during the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    written = []

    def write_module(code: str) -> str:
        # A name of its own for each test, as modules are kept by name.
        name = f"checked_{abs(hash(request.node.nodeid))}"
        (tmp_path / f"{name}.py").write_text(code)
        importlib.invalidate_caches()
        written.append(name)
        return name

    yield write_module
    for name in written:
        sys.modules.pop(name, None)


def line_of(code: str, words: str) -> int:
    return next(number for number, line in enumerate(code.splitlines(), 1) if words in line)


def describe_model(name: str) -> ModelSpec:
    return ModelSpec(name=name, target=f"{name}:Net", options=Options, summary="a model", one_pass=True)


def describe_exporter(name: str) -> ExporterSpec:
    return ExporterSpec(
        name=name, target=f"{name}:export", runtime=f"{name}:load", options=Options, summary="an exporter"
    )


def describe_backbone(name: str) -> BackboneSpec:
    return BackboneSpec(name=name, target=f"{name}:make", summary="a backbone")


def check(spec: Spec, **arguments: object) -> dict[str, Result]:
    return {result.rule: result for result in check_plugin(Checked(spec, **arguments)) if result.problem}


def assert_one_cause(broken: dict[str, Result], rule: str, words: str, where: str) -> None:
    """Check that one rule says what is wrong and where, and that of all others each names it."""
    said = [result for result in broken.values() if not result.because]
    assert [result.rule for result in said] == [rule], said
    assert words in said[0].problem
    assert said[0].where == where
    for result in broken.values():
        if result.because:
            assert result.problem == f"not checked (because {rule} failed)"


SHAPES = "scores_have_the_shapes_of_the_task"

MODELS = {
    "a_tensor": (
        {"scored": "return distance"},
        SHAPES,
        "forward returned a Tensor of shape (3, 1, 64, 64), expected adcli.nn.Scores(image, map)",
        "# forward",
    ),
    "a_tuple": ({"scored": "return distance.mean((1, 2, 3)), distance"}, SHAPES, "a value of type tuple", "# forward"),
    "scores_of_wrong_shape": (
        {"scored": "return Scores(distance.flatten(1), distance)"},
        SHAPES,
        "image scores of shape (3, 4096) for 3 images, expected (N,)",
        "# forward",
    ),
    "no_scores": (
        {"scored": "return Scores(None, distance)"},
        SHAPES,
        "whose image is None, expected a Tensor",
        "# forward",
    ),
    "another_device": (
        {"scored": 'return Scores(distance.flatten(1).amax(dim=1), distance.to("meta"))'},
        SHAPES,
        "a map on meta, expected cpu",
        "# forward",
    ),
    "an_error": (
        {"scored": "return self.nope"},
        SHAPES,
        "AttributeError: 'Net' object has no attribute 'nope'",
        "self.nope",
    ),
    "a_bare_assertion": (
        {"fit": "assert batches.count > 100"},
        SHAPES,
        "AssertionError: assert batches.count > 100",
        "assert",
    ),
    "an_attribute": (
        {"learnt": "self.mean = torch.zeros(())"},
        "the_state_round_trips",
        "fit learns mean, which is not saved: expected a buffer, made in __init__ by self.register_buffer('mean'",
        "def __init__",
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("fault", MODELS)
def test_a_fault_of_a_model_is_said_once_and_with_its_place(fault: str, write) -> None:
    changed, rule, words, place = MODELS[fault]
    code = MODEL.format(**{"learnt": LEARNT, "fit": FIT, "scored": SCORED, **changed})
    name = write(code)
    broken = check(describe_model(name))
    assert_one_cause(broken, rule, words, f"{name}.py:{line_of(code, place)}")


def test_a_target_that_is_not_there_is_said_once(write) -> None:
    name = write(MODEL.format(learnt=LEARNT, fit=FIT, scored=SCORED).replace("class Net", "class Other"))
    broken = check(describe_model(name))
    assert_one_cause(broken, "options_are_documented_and_valid", f"module '{name}' has no attribute 'Net'", "")
    assert len(broken) == 13


def test_a_syntax_error_is_said_with_its_line(write) -> None:
    code = MODEL.format(learnt=LEARNT, fit="self.mean = = 3", scored=SCORED)
    name = write(code)
    broken = check(describe_model(name))
    words = "SyntaxError: invalid syntax: self.mean = = 3"
    assert_one_cause(broken, "options_are_documented_and_valid", words, f"{name}.py:{line_of(code, '= = 3')}")


NO_FACTS = 'facts.pop("tolerance")'

EXPORTERS = {
    "no_tolerance": ({"facts": 'facts.pop("tolerance")'}, "they lack tolerance.", "# export"),
    "no_facts": ({"facts": "facts = [facts]"}, "they are a list, expected a dictionary with file, inputs", "# export"),
    "an_absolute_path": (
        {"facts": 'facts["file"] = str(folder.resolve() / "mean.npz")'},
        "a path of this machine; expected one relative to the folder",
        "# export",
    ),
    "no_file": ({"facts": 'facts["file"] = "graph.npz"'}, "file is 'graph.npz', which was not written", "# export"),
    "no_number": ({"facts": 'facts["tolerance"] = True'}, "tolerance is True, expected a number above 0", "# export"),
    "an_error": ({"facts": "facts.nope"}, "AttributeError: 'dict' object has no attribute 'nope'", "facts.nope"),
    "an_error_while_loading": ({"loaded": "export.nope"}, "'Export' object has no attribute 'nope'", "export.nope"),
}


@pytest.mark.parametrize("fault", EXPORTERS)
def test_a_fault_of_an_exporter_is_said_once_and_with_its_place(fault: str, write) -> None:
    changed, words, place = EXPORTERS[fault]
    code = EXPORTER.format(**{"facts": "", "scored": "return None", "loaded": "", **changed})
    name = write(code)
    broken = check(describe_exporter(name))
    assert_one_cause(broken, "facts_describe_the_graph", words, f"{name}.py:{line_of(code, place)}")
    assert len(broken) == 9


def test_a_runtime_that_returns_something_else_is_said_once(write) -> None:
    code = EXPORTER.format(facts="", loaded="", scored="return np.zeros(len(images), np.float32)")
    name = write(code)
    broken = check(describe_exporter(name))
    words = "the runtime returned ndarray, expected scores (N,) and maps (N, h, w) or None, numpy arrays"
    assert_one_cause(broken, "scores_equal_the_original", words, f"{name}.py:{line_of(code, '# load')}")


def check_dataset(write, folder: Path, given: str | None = None, **changed: str) -> tuple[dict[str, Result], str, str]:
    """Check a data set of three images with its code changed; return what is broken, the module's name and code."""
    from PIL import Image

    code = DATASET.format(**{"checked": CHECKED, "returned": RETURNED, **changed})
    name = write(code)
    root = folder / "images"
    root.mkdir(exist_ok=True)
    for number in range(3):
        Image.effect_noise((16, 16), 40).save(root / f"{number}.png")
    options = importlib.import_module(name).Choices
    spec = DatasetSpec(name=name, target=f"{name}:load", options=options, summary="a data set")
    return check(spec, options={"root": given or root}), name, code


def test_a_right_data_set_breaks_nothing(write, tmp_path: Path) -> None:
    assert not check_dataset(write, tmp_path)[0]


def test_a_data_set_that_ignores_a_missing_folder_option_breaks_the_rule_on_missing_data(write, tmp_path) -> None:
    broken, name, code = check_dataset(write, tmp_path, checked="pass")
    words = "without root: raises AttributeError: 'NoneType' object has no attribute 'glob', expected an AdcliError"
    assert_one_cause(broken, "missing_data_is_named", words, f"{name}.py:{line_of(code, '.glob')}")


def test_a_data_set_that_does_not_name_its_folder_option_is_told_to(write, tmp_path) -> None:
    refuse = 'if options.root is None:\n        raise OptionError("no folder.")'
    broken, name, code = check_dataset(write, tmp_path, checked=refuse)
    assert_one_cause(
        broken,
        "missing_data_is_named",
        "expected a message that says '-d root=...', found: no folder.",
        f"{name}.py:{line_of(code, '# load')}",
    )


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("return images", "returned list, expected adcli.data.Splits"),
        ("return Splits(iter(images))", "Splits.train is list_iterator, expected a list or tuple of adcli.data.Sample"),
        ("return Splits(images)", "expected adcli.data.Sample only"),
        ('return Splits([Sample(str(path), "good") for path in images])', "expected a pathlib.Path"),
        ("return Splits(None)", "Splits.train is NoneType, expected a list or tuple"),
    ],
)
@pytest.mark.parametrize("root", ["absolute", ".", "..", "./images", "images"])
def test_what_a_data_set_returns_instead_of_splits_is_said_once(
    returned: str, words: str, root: str, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {".": tmp_path / "images", "..": tmp_path / "images/inner"}.get(root, tmp_path)
    place.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(place)
    given = None if root == "absolute" else root
    broken, name, code = check_dataset(write, tmp_path, given, returned=returned)
    assert_one_cause(broken, "loading_gives_samples_to_train_on", words, f"{name}.py:{line_of(code, '# load')}")


BACKBONES = {
    "one_tensor": (
        "return images",
        MADE,
        "its maps have shapes (3, 64, 64), (3, 64, 64)",
        "# make",
    ),
    "no_tensors": ("return ['a']", MADE, "its maps have shapes str, not (3,) channels", "# make"),
    "an_error": ("return [images.nope]", MADE, "'Tensor' object has no attribute 'nope'", "images.nope"),
    "not_made": ("return [images]", "return Backbone()", "TypeError: ", "return Backbone()"),
    "no_backbone": ("return [images]", "return 3", "returned int, expected a Backbone", "# make"),
}


@pytest.mark.parametrize("fault", BACKBONES)
def test_a_fault_of_a_backbone_is_said_once_and_with_its_place(fault: str, write) -> None:
    maps, made, words, place = BACKBONES[fault]
    code = BACKBONE.format(maps=maps, made=made)
    name = write(code)
    broken = check(describe_backbone(name))
    rule = "maps_agree_with_channels_and_strides"
    assert_one_cause(broken, rule, words, f"{name}.py:{line_of(code, place)}")
