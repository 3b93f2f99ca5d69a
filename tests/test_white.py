"""12-bit cameras lose nothing: white is measured or declared once, and everything that a run does later follows it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support import Adcli, draw_part, scored_rows

from adcli import pipeline
from adcli._files import seal
from adcli.exports.export import Export
from adcli.runs.run import Run

pytestmark = pytest.mark.usefixtures("strangers_plugin")


def write(folder: Path, count: int, first: int, bits: int, *, defect: bool = False) -> None:
    """Write grey parts of 8 bits, or the same in the lower 12 bits of 16."""
    folder.mkdir(parents=True)
    for number in range(count):
        grey = np.asarray(draw_part(first + number, defect=defect)[0].convert("L"))
        deep = np.rint(grey * (4095 / 255)).astype(np.uint16)
        Image.fromarray(grey if bits == 8 else deep).save(folder / f"{number:02}.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same parts with 8 and with 12 bits; read only."""
    roots = {bits: tmp_path_factory.mktemp("data") / f"b{bits}" for bits in (8, 12)}
    for bits, root in roots.items():
        write(root / "train/good", 10, 0, bits)
        write(root / "test/good", 3, 100, bits)
        write(root / "test/hole", 3, 200, bits, defect=True)
    return roots


def train(data: Path, out: Path, **settings: str) -> Run:
    given = {"model": "mean_image", "image_size": "32", "false_alarm_rate": 0.3, "data": str(data), **settings}
    return pipeline.train(pipeline.TrainSettings(**given), out=out).run


@pytest.fixture(scope="module")
def runs(data: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[int, Run]:
    """A run of each; read only."""
    return {bits: train(root, tmp_path_factory.mktemp("runs") / f"run{bits}") for bits, root in data.items()}


def test_the_same_photographs_with_12_bits_give_the_same_scores(runs: dict[int, Run]) -> None:
    assert [run.settings["white"] for run in runs.values()] == ["65535", "4095"]
    eight, twelve = ([row["score"] for row in scored_rows(run.path)] for run in runs.values())
    assert eight == twelve


def test_one_line_says_what_was_chosen_and_why(data: dict[int, Path], tmp_path: Path, adcli: Adcli) -> None:
    common = ("train", "-m", "mean_image", "--image-size", "32", "--out")
    said = adcli(*common, tmp_path / "a", "--data", data[12])
    (line,) = [line for line in said.err.splitlines() if "--white" in line]
    assert "--white 4095, as the values of 10 images of 16 bits reach" in line
    declared = adcli(*common, tmp_path / "b", "--data", data[12], "--white", "65535")
    (line,) = [line for line in declared.err.splitlines() if "--white" in line]
    assert "16 images of 16 bits that keep 16 grey levels at most" in line
    assert "--white" not in adcli(*common, tmp_path / "c", "--data", data[8]).err


def test_every_later_command_follows_the_run(
    runs: dict[int, Run], data: dict[int, Path], tmp_path: Path, adcli: Adcli
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs[12].path, run)
    expected = {row["image"]: float(row["score"]) for row in scored_rows(run)}
    assert adcli("export", run, "--to", "npz", "--out", tmp_path / "export").code == 0
    assert Export.open(tmp_path / "export").framing.white == 4095
    for opened in (run, tmp_path / "export"):
        answered = json.loads(adcli("predict", opened, data[12] / "test", "--json").out)
        found = {Path(row["image"]).relative_to(data[12] / "test").as_posix(): row["score"] for row in answered}
        assert found == pytest.approx(expected)
    assert adcli("calibrate", run, "--data", data[12] / "test/good").code == 0
    assert adcli("evaluate", run).code == 0
    assert {row["image"]: float(row["score"]) for row in scored_rows(run)} == pytest.approx(expected)


def test_photographs_above_white_are_noted_once(runs: dict[int, Run], tmp_path: Path, adcli: Adcli) -> None:
    for number in range(3):
        Image.fromarray(np.full((64, 64), 5000 + number, np.uint16)).save(tmp_path / f"{number}.png")
    said = adcli("predict", runs[12].path, tmp_path)
    (line,) = [line for line in said.err.splitlines() if "white" in line]
    assert line.startswith("note: 3 images with values above white, clipped (")


def test_a_run_of_before_reads_as_it_did(runs: dict[int, Run], data: dict[int, Path], tmp_path: Path) -> None:
    shutil.copytree(runs[8].path, tmp_path / "run")
    path = tmp_path / "run/run.yaml"
    content = yaml.safe_load(path.read_text())
    for keys, name in ((content, "white"), (content, "digest"), (content["record"], "learnt_from")):
        keys.pop(name)
    path.write_text(seal(content))
    old = Run.open(tmp_path / "run")
    assert old.framing.white == 65535
    new = pipeline.predict(runs[8], [data[12] / "test"])
    assert [said.score for said in pipeline.predict(old, [data[12] / "test"])] == [said.score for said in new]


def test_what_is_left_out_is_one_line_of_each_command(data: dict[int, Path], tmp_path: Path, adcli: Adcli) -> None:
    shutil.copytree(data[8], tmp_path / "parts")
    for name in ("train/good/a.heic", "test/good/b.heic"):
        (tmp_path / "parts" / name).touch()
    parts, run = tmp_path / "parts", tmp_path / "run"
    commands = [
        ("train", "-m", "mean_image", "--image-size", "32", "--data", parts, "--out", run),
        ("evaluate", run),
        ("predict", run, parts / "test"),
        ("predict", run, parts / "test", "--skip-unreadable"),
    ]
    for command in commands:
        said = adcli(*command)
        assert said.code == 0
        lines = [line for line in said.err.splitlines() if ".heic" in line]
        assert len(lines) == 1, command
    listed = adcli("datasets", "check", parts)
    assert sum("left out: " in line and ".heic" in line for line in listed.out.splitlines()) == 2
