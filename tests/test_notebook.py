"""Called from Python, training leaves the process as it was; and the page on Python is a notebook that runs."""

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import write_parts

from adcli import pipeline


def test_random_numbers_and_flags_of_torch_are_as_before_training(tmp_path: Path) -> None:
    data = write_parts(tmp_path / "parts")
    settings = pipeline.TrainSettings(
        model="padim", data=str(data), image_size="32", options={"backbone": "random:resnet18", "layers": "1"}
    )
    flags = (torch.backends.cudnn, "allow_tf32"), (torch.backends.cudnn, "benchmark")
    before = [getattr(module, name) for module, name in flags]
    try:
        for module, name in flags:
            setattr(module, name, True)
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(7)  # type: ignore[operator]
        expected = random.random(), np.random.random(), torch.rand(1).item()
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(7)  # type: ignore[operator]
        pipeline.train(settings, out=tmp_path / "run")
        assert (random.random(), np.random.random(), torch.rand(1).item()) == expected
        assert [getattr(module, name) for module, name in flags] == [True, True]
    finally:
        for (module, name), value in zip(flags, before, strict=True):
            setattr(module, name, value)


PAGE = Path(__file__).parent.parent / "docs/python.md"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The cells of the page, executed in a kernel, on a small data set in the place of the demo data."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    for name in ("ipykernel", "pandas"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("notebook")
    write_parts(folder / "parts", train=12, good=3, defective=3)
    codes = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    on_parts = [code.replace("TrainSettings(", 'TrainSettings(data="parts", ') for code in codes]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in on_parts])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            patch.setenv(name, str(folder / "jupyter"))
        nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return list(notebook.cells)


def shown(cell: Any, kind: str = "text/html") -> list[str]:
    """Return what a cell shows, an output each."""
    return [output["data"].get(kind, "") for output in cell.outputs if "data" in output]


@pytest.mark.slow
def test_the_page_trains_looks_at_pictures_makes_tables_and_compares(cells: list[Any]) -> None:
    train, look, table, scores, compare = cells
    *bars, trained = shown(train)
    assert any(re.fullmatch(r"evaluating: 6 in [\d.]+ s", bar) for bar in bars)
    assert trained.count("<img") == 6
    assert "report.html" in trained
    assert re.fullmatch(r"<Trained runs/\S+-padim-parts: padim, image AUROC .*>", shown(train, "text/plain")[-1])
    assert [picture.count("<img") for picture in shown(look)] == [2, 2, 2]
    assert shown(table)[0].count("<tr") == 1 + 5
    assert "scratch" in shown(scores)[0]
    assert "95% interval" in shown(compare)[-1]
    errors = [output for cell in cells for output in cell.outputs if output.get("name") == "stderr"]
    assert errors == []


@pytest.mark.slow
def test_the_line_that_the_page_prints_is_such_a_line(cells: list[Any]) -> None:
    printed = re.search(r"^<Trained .*>$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert printed
    form = r"<Trained runs/[\w-]+: padim, image AUROC [\d.]+, pixel AUROC [\d.]+, threshold [\d.]+>"
    assert re.fullmatch(form, printed[0])
    assert re.fullmatch(form, shown(cells[0], "text/plain")[-1])
