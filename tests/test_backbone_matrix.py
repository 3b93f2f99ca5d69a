"""Backbones through everything: those in the box with every model, and one small network of each of timm's families.

Of those in the box, all of it works. Of the others, it works, or one line says what to do: the long test makes, fits
and exports one of every family, and writes what became of each into ``build/backbones.md``.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from support import write_parts

from adcli import AdcliError, BackboneError, BackboneOptions, ExportError, pipeline
from adcli._plugins.registry import registry
from adcli.nn import Backbone, create_backbone
from adcli.nn.backbones import sketch_backbone
from adcli.runs.run import Run

TABLE = Path(__file__).parents[1] / "build/backbones.md"
COLUMNS = ("family", "network", "256", "250x199", "128", "fit", "openvino", "onnx", "seconds")
FAMILIES = sorted(name for name in timm.list_modules() if timm.list_models(module=name))
IN_THE_BOX = sorted(name for name in registry().backbones if not name.endswith(":"))
ON_A_BACKBONE = sorted(
    name for name in registry().models if issubclass(registry().models[name].spec.options, BackboneOptions)
)
AGREES = 1e-3
"""Largest difference between the scores of a graph and of its run, relative to the range of good scores."""

ADVICE = re.compile(r"--image-size (\d+(?:x\d+)?)")
TOLERANCE = {"tolerance": "0.05"}
"""With such weights, scores of good images hardly differ, and differences are relative to that."""


def smallest(family: str) -> str:
    """Return the architecture of a family with the fewest parameters."""

    def count(name: str) -> int:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in timm.create_model(name, num_classes=0).parameters())

    return min(timm.list_models(module=family), key=count)


def try_out(work: Callable[[], str]) -> tuple[str, str]:
    """Return what came of work, and the image size that a refusal names; anything but one such line is passed on."""
    try:
        return work(), ""
    except AdcliError as error:
        line = error.format_message()
        advice = ADVICE.search(line)
        if isinstance(error, ExportError):
            return line, ""
        if not isinstance(error, BackboneError):
            raise AssertionError(f"someone else is blamed: {line}") from error
        return line, advice[1] if advice else ""


def size_of(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def write_weights(name: str, folder: Path) -> Path:
    """Write weights that make all parts of a network matter; many begin as the identity, which says little."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0)
    state = {key: value + 0.05 * torch.randn_like(value) for key, value in network.named_parameters()}
    path = folder / f"{name}.safetensors"
    # Some networks share tensors, which such a file does not.
    save_file({key: value.detach().clone() for key, value in (network.state_dict() | state).items()}, path)
    return path


def make(name: str, size: str, weights: Path) -> str:
    """Make two layers for a size and look at the maps; return what they cover."""
    count = sketch_backbone(f"random:{name}").layer_count or 1
    layers = tuple({max(count // 2, 1), count})
    options = BackboneOptions(backbone=f"timm:{name}", layers=layers, weights=weights)
    backbone = create_backbone(options, image_size=size_of(size))
    with torch.no_grad():
        maps = backbone(torch.rand(1, 3, *size_of(size)))
    return ", ".join(words_of(backbone, i, part, size_of(size)) for i, part in enumerate(maps))


def words_of(backbone: Backbone, index: int, part: torch.Tensor, size: tuple[int, int]) -> str:
    """Return what a map covers, after a look at whether that can be."""
    cover, grid = backbone.covers[index], (part.shape[2], part.shape[3])
    for positions, side in zip(grid, size, strict=True):
        end = cover.offset + positions * cover.stride
        assert -cover.stride < cover.offset < 2 * cover.stride, f"{cover} of {grid} at {size}"
        # Convolutions without padding leave out what no whole window covers.
        assert side - 3 * cover.stride < end < side + 64, f"{cover} of {grid} at {size}"
    offset = f"{cover.offset:+g}" if cover.offset else ""
    return f"{grid[0]}x{grid[1]} of {cover.stride:g}{offset}"


def both(name: str, size: str, weights: Path) -> tuple[str, str]:
    """Try a size, and the one that a refusal names; return what came of it, and the size that works."""
    found, advised = try_out(lambda: make(name, size, weights))
    if not advised:
        return found, size
    again, more = try_out(lambda: make(name, advised, weights))
    assert not more, f"{size}: told to use {advised}, which is refused as well: {again}"
    return f"{found} [{again}]", advised


def go_through(name: str, data: Path, folder: Path, size: str, weights: Path) -> dict[str, str]:
    """Fit PatchCore, which scores the test images too, and export it."""
    options: dict[str, Any] = {"backbone": f"timm:{name}", "weights": str(weights), "coreset": "0.05"}
    settings = pipeline.TrainSettings(model="patchcore", data=str(data), image_size=size, options=options)
    run: list[Run] = []

    def fit() -> str:
        run.append(pipeline.train(settings, out=folder / "run").run)
        return f"ok ({run[0].settings['options']['layers']})"

    def export(to: str) -> str:
        pipeline.export(run[0], to, TOLERANCE)
        return "ok"

    found = {"fit": try_out(fit)[0]}
    for to in ("openvino", "onnx") if run else ():
        found[to] = try_out(lambda to=to: export(to))[0]  # type: ignore[misc]
    return found


def write_row(row: dict[str, str]) -> None:
    if not TABLE.exists():
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n")
    with TABLE.open("a") as table:
        table.write(f"| {' | '.join(row.get(column, '') for column in COLUMNS)} |\n")


@pytest.fixture(scope="module")
def parts_to_calibrate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts of which five calibrate: two may have the same score, and a difference has no range to compare with."""
    return write_parts(tmp_path_factory.mktemp("data") / "parts", train=25, good=2, defective=2)


@pytest.fixture(scope="module")
def few_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("data") / "parts", train=10, good=2, defective=2)


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_of_every_family_works_or_says_what_to_do(family: str, few_parts: Path, tmp_path: Path) -> None:
    start, name = time.monotonic(), smallest(family)
    row = {"family": family, "network": name}
    try:
        weights = write_weights(name, tmp_path)
        row["256"] = both(name, "256", weights)[0]
        row["250x199"] = both(name, "250x199", weights)[0]
        row["128"], size = both(name, "128", weights)
        row |= go_through(name, few_parts, tmp_path, size, weights)
    except BaseException as error:
        row["fit"] = f"FAILED: {type(error).__name__}: {str(error)[:300]}".replace("\n", " ")
        raise
    finally:
        row["seconds"] = f"{time.monotonic() - start:.0f}"
        write_row(row)


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.parametrize("backbone", IN_THE_BOX)
@pytest.mark.parametrize("model", ON_A_BACKBONE)
def test_every_model_works_on_every_backbone_in_the_box(
    model: str, backbone: str, parts_to_calibrate: Path, tmp_path: Path
) -> None:
    quick = registry().models[model].spec.quick
    options = {**quick, "backbone": backbone}
    settings = pipeline.TrainSettings(model=model, data=str(parts_to_calibrate), image_size="64", options=options)
    run = pipeline.train(settings, out=tmp_path / "run").run
    # What differs by more is refused.
    exported = pipeline.export(run, "openvino", {"tolerance": str(AGREES)})
    images = sorted((parts_to_calibrate / "test").rglob("*.png"))
    calculated = [prediction.score for prediction in pipeline.predict(run, images)]
    scores = [prediction.score for prediction in pipeline.predict(exported, images)]
    assert len(scores) == len(images)
    assert len({*calculated}) == len(images)
    assert scores == pytest.approx(calculated, rel=AGREES)


def test_there_are_backbones_in_the_box() -> None:
    assert {"embedded", "efficientnet_lite0", "efficientnet_lite2", "mobilenetv2"} <= {*IN_THE_BOX}
    assert len(ON_A_BACKBONE) >= 7
