"""What is particular to this format: how its graph resizes, and its broken files."""

import contextlib
import importlib.util
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openvino as ov
import pytest
import torch
from torch import Tensor, nn

from adcli import AdcliError, ExportError, OptionError
from adcli.data import read_image, resize
from adcli.exports import Export
from adcli.scoring import Runtime
from adcli.testing import Checked
from adcli_openvino import OpenvinoOptions
from adcli_openvino.export import TOLERANCES, export
from adcli_openvino.graph import convert, prepend_resizing
from adcli_openvino.runtime import COMPUTES_IN, choose_precision, load, runtime_of

CAPABILITIES = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="needs adcli-openvino[int8]")


class Levels(nn.Module):
    """Gives the pixels it gets back as a map."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images.mean(dim=(1, 2, 3)), images[:, :1]


def test_exporting_tells_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checker = pytest.importorskip("openvino_telemetry.utils.opt_in_checker")
    monkeypatch.delenv("CI", raising=False)
    # Nobody has said yes or no on this machine: then it would tell.
    monkeypatch.setattr(checker.OptInChecker, "consent_file", lambda self: str(tmp_path / "none"))
    answers = []

    def ask(*_: object) -> None:
        answers.append(checker.OptInChecker().check(enable_opt_in_dialog=False, disable_in_ci=True))
        raise AdcliError("asked")

    monkeypatch.setattr("adcli_openvino.export.convert", ask)
    with pytest.raises(AdcliError, match="asked"):
        export(SimpleNamespace(model=None, image_size=(8, 8)), tmp_path, OpenvinoOptions.parse({}))  # type: ignore[arg-type]
    with contextlib.suppress(AdcliError):
        ask()
    assert answers == [checker.ConsentCheckResult.DECLINED, checker.ConsentCheckResult.NO_FILE]


def compile_graph(graph: ov.Model) -> Runtime:
    return runtime_of(ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": COMPUTES_IN}))


@pytest.mark.parametrize("size", [(64, 48), (31, 200), (300, 37), (7, 5), (1, 1), (640, 480)])
def test_the_graph_resizes_as_the_core_does(size: tuple[int, int]) -> None:
    runtime = compile_graph(prepend_resizing(convert(Levels(), (64, 48), None), (64, 48), None))  # type: ignore[arg-type]
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    _, maps = runtime(pixels)
    assert maps is not None
    expected = np.stack([resize(image, (64, 48))[:, :, 0] for image in pixels]).astype(int)
    difference = np.abs(np.rint(maps * 255) - expected)
    # A value next to where rounding turns may go either way: one in hundreds of thousands.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4


@pytest.mark.thorough
@needs_nncf
def test_integers_agree_on_good_images_and_are_smaller() -> None:
    whole = Checked("openvino", model="padim").subject()
    options = {"precision": "int8", "tolerance": "1000"}
    quantised = Checked("openvino", options=options, model="padim").subject()
    images = np.stack([read_image(item.path) for item in quantised.evidence.plan.good])
    # Of untrained weights, damaged images score so far from good ones that no share of the good range holds for them.
    difference = quantised.relative(quantised.runtime(images)[0], quantised.original_runtime(images)[0])
    assert difference <= TOLERANCES["int8"]
    graphs = [(subject.export.path / subject.export.facts["file"]).read_text() for subject in (whole, quantised)]
    assert ["FakeQuantize" in graph for graph in graphs] == [False, True]
    sizes = [
        (subject.export.path / subject.export.facts["file"]).with_suffix(".bin").stat().st_size
        for subject in (whole, quantised)
    ]
    assert sizes[1] < sizes[0] / 2


class TwoConvolutions(nn.Module):
    """Two convolutions with something before, between and after them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3))

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.layers(images - 0.5).square().mean(dim=(1, 2, 3)),)


@needs_nncf
def test_only_what_lies_between_convolutions_is_quantised() -> None:
    from adcli_openvino.quantisation import quantise

    images = list(np.random.default_rng(0).integers(0, 256, (6, 24, 24, 3), dtype=np.uint8))
    graph = quantise(convert(TwoConvolutions(), (24, 24), None), images, 6, 1)  # type: ignore[arg-type]
    quantisers = [op for op in graph.get_ordered_ops() if op.get_type_name() == "FakeQuantize"]
    sources = sorted(op.input_value(0).get_node().get_type_name() for op in quantisers)
    users = {target.get_node().get_type_name() for op in quantisers for target in op.output(0).get_target_inputs()}
    assert "Relu" in sources, "what the second convolution takes"
    assert not {"Subtract", "Add", "Multiply", "Parameter"} & set(sources), "what the first one takes"
    assert users == {"Convolution"}


@needs_nncf
def test_an_image_brighter_than_any_seen_is_not_cut_off() -> None:
    """Ranges hold the largest value of all images, not a mean of theirs: one bright image among dark ones is enough."""
    from adcli_openvino.quantisation import quantise

    network = TwoConvolutions().eval()
    random = np.random.default_rng(0)
    images = [random.integers(0, 30, (24, 24, 3), dtype=np.uint8) for _ in range(7)]
    images.append(random.integers(200, 256, (24, 24, 3), dtype=np.uint8))
    graph = quantise(convert(network, (24, 24), None), images, 8, 1)  # type: ignore[arg-type]
    runtime = compile_graph(prepend_resizing(graph, (24, 24), None))
    with torch.inference_mode():
        (expected,) = network(torch.from_numpy(images[-1]).permute(2, 0, 1)[None] / 255)
    assert runtime(images[-1][None])[0][0] == pytest.approx(float(expected), rel=0.02)


def bf16_of(model: str) -> dict[str, object]:
    """Return the arguments that export a model in bfloat16, whatever its scores are then."""
    return {"model": model, "options": {"precision": "bf16", "tolerance": "1000"}}


@pytest.mark.skipif("BF16" not in CAPABILITIES, reason="needs a processor that computes in bfloat16")
def test_bfloat16_is_what_such_an_export_computes_in() -> None:
    subject = Checked("openvino", **bf16_of("padim")).subject()  # type: ignore[arg-type]
    assert subject.export.facts["computes_in"] == "bf16"
    whole = Checked("openvino", model="padim").subject()
    images = np.stack([read_image(item.path) for item in subject.evidence.plan.good])
    difference = subject.relative(subject.runtime(images)[0], whole.runtime(images)[0])
    assert 1e-6 < difference <= TOLERANCES["bf16"]
    alone = np.concatenate([subject.runtime(image[None])[0] for image in images])
    assert subject.relative(alone, subject.runtime(images)[0]) <= 1e-5


def test_a_processor_without_bfloat16_refuses_it() -> None:
    core = SimpleNamespace(get_property=lambda *_: ["FP32", "INT8"])
    with pytest.raises(ExportError, match="this CPU does not compute in bfloat16"):
        choose_precision(core, "CPU", "bf16")  # type: ignore[arg-type]
    assert choose_precision(core, "CPU", "int8") == "f32"  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_named() -> None:
    export = Checked("openvino", model="padim").subject().export
    with pytest.raises(OptionError, match="--device npu: OpenVINO finds"):
        load(export, "npu")


def test_a_bank_is_stored_once() -> None:
    subject = Checked("openvino", model="patchcore").subject()
    weights = sum(tensor.numel() * 4 for tensor in subject.original.model.weights().values())
    file = subject.export.path / subject.export.facts["file"]
    assert file.with_suffix(".bin").stat().st_size < 1.05 * weights + 2**17


@pytest.mark.thorough
@pytest.mark.parametrize("damage", ["missing weights", "short weights", "missing graph", "no graph"])
def test_a_broken_folder_is_one_line(tmp_path: Path, damage: str) -> None:
    export = Checked("openvino", model="stfpm").subject().export
    shutil.copytree(export.path, tmp_path / "export")
    graph = tmp_path / "export" / export.facts["file"]
    weights = graph.with_suffix(".bin")
    {
        "missing weights": weights.unlink,
        "short weights": lambda: weights.write_bytes(weights.read_bytes()[:1000]),
        "missing graph": graph.unlink,
        "no graph": lambda: graph.write_text("nonsense"),
    }[damage]()
    # Without digests, nothing is taken from the cache.
    unfinished = {name: value for name, value in export.manifest.items() if name != "files"}
    with pytest.raises(ExportError, match=r"model\.xml: OpenVINO cannot read it") as caught:
        load(Export(tmp_path / "export", unfinished, export.calibration), "cpu")
    assert "\n" not in caught.value.message


class Eigenvalues(nn.Module):
    """Computes what no graph can."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.eigvals(images[:, 0]).abs().amax(dim=1), images[:, :1]


def test_a_model_that_cannot_be_converted_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(
        ExportError, match=r"cannot be converted to OpenVINO: .*; export it with --to onnx.*\.$"
    ) as caught:
        convert(Eigenvalues(), (32, 32), None)
    assert "\n" not in caught.value.message
