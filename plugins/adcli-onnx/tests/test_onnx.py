"""Every model's graph against the model itself, on pixels of any size."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from adcli.data.decoding import read_image, resize
from adcli.errors import ExportError, OptionError
from adcli.exports import Export
from adcli.registry import registry
from adcli.testing.exporters import Subject, subject_of
from adcli_onnx import OnnxOptions
from adcli_onnx.graph import resized
from adcli_onnx.runtime import load

SIZE = (64, 64)
AGREES = 1e-3


def largest_difference(subject: Subject) -> float:
    """Return the largest score difference of batches of several sizes, relative to the range of good scores."""
    differences = []
    for path in subject.evidence.compared:
        pixels = read_image(path)
        fitting = resize(pixels, SIZE)[None]
        for count in (1, 2, 5):
            # Between copies turned over, which score otherwise, an image must score as alone.
            images = np.stack([pixels, pixels[::-1], pixels[:, ::-1], pixels[::-1, ::-1], 255 - pixels][:count])
            scores, maps = subject.runtime(images)
            expected, expected_map = subject.original.runtime(fitting)
            differences.append(subject.relative(scores[:1], expected))
            if maps is not None:
                assert expected_map is not None
                differences.append(float(np.abs(maps[0] - expected_map[0]).max() / np.ptp(expected_map)))
    return max(differences)


@pytest.mark.parametrize("model", sorted(registry().models))
def test_every_model_agrees_on_images_of_other_sizes(model: str) -> None:
    assert largest_difference(subject_of("onnx", model)) <= AGREES


@pytest.mark.parametrize("size", [(64, 48), (31, 200), (300, 37), (7, 5), (1, 1), (640, 480)])
def test_the_graph_resizes_as_the_core_does(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    expected = np.stack([resize(image, (64, 48)) for image in pixels]).astype(int)
    levels = resized(torch.from_numpy(pixels), (64, 48)).permute(0, 2, 3, 1).numpy()
    difference = np.abs(levels - expected)
    # A value halfway between two levels may be rounded either way.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 2e-3


@pytest.mark.parametrize("damage", ["missing", "short", "nonsense"])
def test_a_broken_folder_is_one_line(tmp_path: Path, damage: str) -> None:
    export = subject_of("onnx", "stfpm").export
    shutil.copytree(export.path, tmp_path / "export")
    graph = tmp_path / "export" / export.facts["file"]
    {
        "missing": graph.unlink,
        "short": lambda: graph.write_bytes(graph.read_bytes()[:100000]),
        "nonsense": lambda: graph.write_text("nonsense"),
    }[damage]()
    with pytest.raises(ExportError, match=r"model\.onnx: ONNX Runtime cannot read it") as caught:
        load(Export(tmp_path / "export", export.manifest, export.calibration))
    assert "\n" not in caught.value.message


def test_the_example_prints_score_and_verdict(tmp_path: Path) -> None:
    subject = subject_of("onnx", "stfpm")
    image = subject.evidence.compared[0]
    example = subject.export.path / "example.py"
    assert len(example.read_text().splitlines()) <= 30
    done = subprocess.run([sys.executable, str(example), str(image)], capture_output=True, text=True, check=True)
    score, verdict = done.stdout.strip().rpartition(": ")[2].split()
    expected = float(subject.runtime(read_image(image)[None])[0][0])
    assert float(score) == pytest.approx(expected, rel=1e-4)
    threshold = json.loads((subject.export.path / "calibration.json").read_text())["image_threshold"]
    assert verdict == ("defect" if expected > threshold else "good")


def test_batches_that_are_no_numbers_are_refused() -> None:
    assert OnnxOptions.parse({"batch": "4"}).batch == "4"
    for wrong in ("0", "-1", "many"):
        with pytest.raises(OptionError, match="batch"):
            OnnxOptions.parse({"batch": wrong})


def test_torch_is_only_needed_to_export() -> None:
    code = "import sys, adcli_onnx.runtime; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
