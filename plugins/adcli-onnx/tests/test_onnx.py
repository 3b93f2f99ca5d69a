"""What is particular to this format: how its graph resizes, and its broken files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adcli import ExportError
from adcli.data import resize
from adcli.exports import Export
from adcli.testing import Checked
from adcli_onnx.graph import build, resize_pixels
from adcli_onnx.runtime import load


@pytest.mark.parametrize("size", [(64, 48), (31, 200), (300, 37), (7, 5), (1, 1), (640, 480)])
def test_the_graph_resizes_as_the_core_does(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    expected = np.stack([resize(image, (64, 48)) for image in pixels]).astype(int)
    levels = resize_pixels(torch.from_numpy(pixels), (64, 48)).permute(0, 2, 3, 1).numpy()
    difference = np.abs(levels - expected)
    # A value next to where rounding turns may go either way: one in hundreds of thousands.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4


@pytest.mark.thorough
@pytest.mark.parametrize("damage", ["missing", "short", "nonsense", "garbled"])
def test_a_broken_folder_is_one_line(tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    export = Checked("onnx", model="stfpm").subject().export
    shutil.copytree(export.path, tmp_path / "export")
    graph = tmp_path / "export" / export.facts["file"]
    {
        "missing": graph.unlink,
        "short": lambda: graph.write_bytes(graph.read_bytes()[:100000]),
        "nonsense": lambda: graph.write_text("nonsense"),
        # It cannot say which name is missing, and would print that it falls back to what it has just tried.
        "garbled": lambda: graph.write_bytes(graph.read_bytes().replace(b"images", b"\xffmages", 1)),
    }[damage]()
    capfd.readouterr()
    with pytest.raises(ExportError, match=r"model\.onnx: ONNX Runtime cannot read it") as caught:
        load(Export(tmp_path / "export", export.manifest, export.calibration), "cpu")
    assert "\n" not in caught.value.message
    assert not capfd.readouterr().out


class Eigenvalues(nn.Module):
    """Computes what no graph can."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.eigvals(images[:, 0]).abs().amax(dim=1), images[:, :1]


def test_a_model_that_cannot_be_converted_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(
        ExportError, match=r"cannot be converted to ONNX: .*; predict with the run itself.*\.$"
    ) as caught:
        build(Eigenvalues(), (32, 32), None)
    assert "\n" not in caught.value.message
