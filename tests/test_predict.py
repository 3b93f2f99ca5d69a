"""No prediction is lost: not by bad files, paths that are gone, streams that break, kills, or a second call."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import Adcli, Outcome, assert_one_line, in_own_process, server, start_adcli

from adcli import pipeline

ONE_BY_ONE = ("--format", "jsonl", "--batch-size", "1", "--workers", "0")
NOTHING = "no such file or folder"


@pytest.fixture
def photos(parts: Path, tmp_path: Path) -> Path:
    """Photographs of which one cannot be read, and one is not there, in the order of the list."""
    folder = tmp_path / "photos"
    shutil.copytree(parts / "test/scratch", folder)
    (folder / "003.png").write_bytes(b"no image")
    return folder


def listed(photos: Path) -> list[str]:
    return [*(str(photos / f"{i:03}.png") for i in range(6)), str(photos / "gone.png")]


def rows_of(outcome: Outcome, form: str) -> list[dict[str, Any]]:
    """Return what was printed, in any form, as rows with an image and a verdict."""
    if form == "json":
        return list(json.loads(outcome.out))
    if form == "jsonl":
        return [json.loads(line) for line in outcome.out.splitlines()]
    if form == "csv":
        return list(csv.DictReader(outcome.out.splitlines()))
    cells = [line.split(maxsplit=3) for line in outcome.out.splitlines()[1:]]
    return [{"verdict": verdict, "score": score, "image": image} for verdict, score, _, image in cells]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl"])
def test_what_cannot_be_read_is_a_row_in_every_form_and_costs_no_other(
    adcli: Adcli, trained: Path, photos: Path, form: str
) -> None:
    outcome = adcli("predict", trained, *listed(photos), "--skip-unreadable", "--out", "day", "--format", form)
    assert outcome.code == 0, outcome.err
    expected = ["unreadable" if i in (3, 6) else "" for i in range(7)]
    for rows in (rows_of(outcome, form), table(Path("day/predictions.csv"))):
        assert [row["image"] for row in rows] == listed(photos)
        assert [row["verdict"] if row["verdict"] == "unreadable" else "" for row in rows] == expected
        assert [row["score"] in (None, "", "-") for row in rows] == [bool(word) for word in expected]
    assert "7 images, " in outcome.err
    assert "2 unreadable; written to day" in outcome.err
    assert [line for line in outcome.err.splitlines() if line.startswith("unreadable: ")] == [
        f"unreadable: {photos}/003.png: not an image that can be read.",
        f"unreadable: {photos}/gone.png: {NOTHING}.",
    ]
    assert "--skip-unreadable" not in outcome.err


@pytest.mark.parametrize(
    ("flags", "bad", "defects", "code"),
    [
        ([], True, False, 4),
        (["--skip-unreadable"], True, False, 0),
        (["--fail-on-defect"], True, False, 4),
        (["--fail-on-defect", "--skip-unreadable"], True, False, 4),
        (["--fail-on-defect"], True, True, 3),
        (["--fail-on-defect", "--skip-unreadable"], True, True, 3),
        (["--fail-on-defect"], False, True, 3),
        (["--fail-on-defect"], False, False, 0),
        ([], False, True, 0),
    ],
)
def test_no_part_passes_the_gate_without_a_verdict(
    adcli: Adcli, trained: Path, parts: Path, photos: Path, flags: list[str], bad: bool, defects: bool, code: int
) -> None:
    scored = rows_of(adcli("predict", trained, parts / "test", "--json"), "json")
    images = [row["image"] for row in scored if (row["score"] > row["threshold"]) == defects][:1]
    assert images
    outcome = adcli("predict", trained, *images, *([photos / "003.png"] if bad else []), *flags)
    assert outcome.code == code, outcome.err
    assert len(outcome.out.splitlines()) == 2 + bad
    if code == 4:
        assert_one_line(outcome, 4, "1 of 2", "003.png")


def test_paths_that_were_typed_wrongly_end_the_command_before_the_model_is_loaded(
    adcli: Adcli, run: Path, photos: Path, tmp_path: Path
) -> None:
    (run / "model.safetensors").unlink()
    (tmp_path / "empty").mkdir()
    for wrong in ("gone.png", "empty", "none*.png", "", "x" * 5000):
        outcome = adcli("predict", run, photos / "000.png", wrong, "--out", "day")
        assert_one_line(outcome, 4, wrong[:20])
        assert not outcome.out
        assert not Path("day").exists()


def test_a_list_goes_on_after_paths_that_are_gone(trained: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "cr\rname.png").write_bytes((photos / "000.png").read_bytes())
    names = [*listed(photos), str(tmp_path / "empty"), "nul\0.png", "esc\x1b[0m.png", "cr\rname.png"]
    (tmp_path / "list").write_bytes("\r\n".join(names).encode("utf-16"))
    options = ("--out", "day", "--format", "csv")
    with (tmp_path / "list").open() as stdin:
        predict = start_adcli("predict", trained, "-", *options, cwd=tmp_path, stdin=stdin, text=False)
        out, err = predict.communicate()
    assert predict.returncode == 4, err
    rows = table(tmp_path / "day/predictions.csv")
    assert [row["image"] for row in rows] == names
    assert [i for i, row in enumerate(rows) if row["verdict"] == "unreadable"] == [3, 6, 7, 8, 9]
    assert out == (tmp_path / "day/predictions.csv").read_bytes()
    assert b"5 unreadable" in err


def test_a_stream_that_breaks_leaves_all_rows_before_it(trained: Path, photos: Path, tmp_path: Path) -> None:
    text = "\n".join([*listed(photos)[:6], "x" * 200_000])
    options = ("--out", "day", "--json", "--skip-unreadable")
    done = in_own_process("predict", trained, "-", *options, cwd=tmp_path, stdin=text)
    assert_one_line(done, 4, "no path")
    assert [row["image"] for row in json.loads(done.out)] == listed(photos)[:6]
    assert len(table(tmp_path / "day/predictions.csv")) == 6
    assert "6 images, " in done.err
    assert len(done.err) < 2000


@pytest.mark.thorough
def test_each_line_is_answered_at_once_and_its_row_is_on_disk_when_it_is_printed(
    trained: Path, photos: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "adcli", "predict", trained, "-", *ONE_BY_ONE, "--out", "day"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        for i, name in enumerate(listed(photos), 1):
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            row = json.loads(process.stdout.readline())
            assert row["image"] == name
            assert len(table(tmp_path / "day/predictions.csv")) == i
        os.kill(process.pid, signal.SIGKILL)
    before = table(tmp_path / "day/predictions.csv")
    assert [row["image"] for row in before] == listed(photos)
    with (tmp_path / "day/predictions.csv").open("ab") as file:
        file.write(b'1,"torn')
    again = ("predict", trained, photos / "000.png", "--out", "day")
    assert_one_line(in_own_process(*again, cwd=tmp_path), 9, "--append")
    done = in_own_process(*again, "--append", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "cut off" in done.err
    after = table(tmp_path / "day/predictions.csv")
    assert after[:-1] == before
    assert after[-1]["image"] == str(photos / "000.png")


@pytest.mark.thorough
def test_pictures_have_the_folders_of_the_images_and_rows_name_them(adcli: Adcli, trained: Path, parts: Path) -> None:
    for folder in ("a", "b", "A"):
        shutil.copytree(parts / "test/good", Path("col") / folder)
    outcome = adcli("predict", trained, "col", "--overlays", "--out", "col", "--format", "jsonl")
    assert outcome.code == 0, outcome.err
    pictures = [row["picture"] for row in rows_of(outcome, "jsonl")]
    assert len({picture.lower() for picture in pictures}) == 18
    assert "maps/b/000.png.png" in pictures
    assert all((Path("col") / picture).is_file() for picture in pictures)
    assert [row["picture"] for row in table(Path("col/predictions.csv"))] == pictures
    again = adcli("predict", trained, "col", "--overlays", "--out", "col", "--append")
    assert "18 images, " in again.err
    assert "left out 18 pictures made by adcli" in again.err
    more = [row["picture"] for row in table(Path("col/predictions.csv"))]
    assert len(set(more)) == len(more) == 36


@pytest.mark.parametrize("form", ["tiff", "npy"])
def test_maps_and_masks_are_files_that_lie_and_are_called_as_the_images(
    adcli: Adcli, trained: Path, parts: Path, form: str
) -> None:
    for name in ("a b/1.png", "\N{GRINNING FACE}/1.png", "1.png"):
        Path("col", name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(parts / "test/scratch/000.png", Path("col", name))
    shutil.copyfile(parts / "test/good/000.png", "col/good.png")
    Image.open("col/1.png").save("col/1.bmp")
    shown = adcli("predict", trained, "col", "--maps", form, "--masks", "png", "--out", "col", "--format", "jsonl")
    assert shown.code == 0, shown.err
    assert {row["picture"] for row in rows_of(shown, "jsonl")} == {""}
    places = {
        path.relative_to("col").as_posix() for path in Path("col").rglob("*.*") if path.suffix in (".png", ".bmp")
    }
    images = sorted(place for place in places if not place.startswith("maps/"))
    written = {path.relative_to("col/maps").as_posix() for path in Path("col/maps").rglob("*") if path.is_file()}
    assert written == {f"{image}.{ending}" for image in images for ending in (form, "mask.png")}
    for said in pipeline.predict(pipeline.load(trained), [Path("col", image) for image in images]):
        assert said.path is not None
        beginning = f"col/maps/{said.path.relative_to('col')}"
        anomaly_map = np.load(f"{beginning}.npy") if form == "npy" else np.asarray(Image.open(f"{beginning}.tiff"))
        assert said.map is not None
        np.testing.assert_allclose(anomaly_map, said.map, rtol=1e-4)
        mask = np.asarray(Image.open(f"{beginning}.mask.png"))
        assert (mask.any(), set(np.unique(mask)) <= {0, 255}) == (said.is_defect, True)
    again = adcli("predict", trained, "col", "--maps", form, "--out", "col", "--append")
    assert "5 images, " in again.err


@pytest.mark.parametrize("kind", ["overlay", "heatmap", "outlines"])
def test_a_picture_alone_has_the_size_of_its_photograph_and_rows_name_it(
    adcli: Adcli, trained: Path, photos: Path, kind: str
) -> None:
    outcome = adcli("predict", trained, photos / "000.png", "--pictures", kind, "--out", "day", "--format", "jsonl")
    (row,) = rows_of(outcome, "jsonl")
    with Image.open(Path("day", row["picture"])) as drawn, Image.open(photos / "000.png") as photo:
        assert (row["picture"], drawn.size, drawn.mode) == ("maps/000.png.png", photo.size, "RGB")


def test_overlays_are_pictures_of_panels(adcli: Adcli, trained: Path, photos: Path) -> None:
    for out, options in (
        ("a", ["--overlays"]),
        ("b", ["--pictures", "panels"]),
        ("c", ["--overlays", "--maps", "npy"]),
    ):
        assert adcli("predict", trained, photos / "000.png", *options, "--out", out).code == 0
    contents = {Path(out, "maps/000.png.png").read_bytes() for out in "abc"}
    assert len(contents) == 1


def test_a_model_that_only_classifies_has_no_maps_to_write(adcli: Adcli, parts: Path) -> None:
    quick = ("-m", "dfkde", "--backbone", "random:resnet18", "--image-size", "64", "-o", "layers=1")
    assert adcli("train", *quick, "--data", parts, "--out", "bare").code == 0
    for options in (("--maps", "tiff"), ("--masks", "png"), ("--pictures", "overlay")):
        refused = adcli("predict", "bare", parts / "test/good", *options, "--out", "day")
        assert_one_line(refused, 2, f"{options[0]} needs anomaly maps", "bare only classifies")
        assert not refused.out
        assert not Path("day").exists()
    assert adcli("predict", "bare", parts / "test/good", "--overlays", "--out", "day").code == 0


def test_where_there_are_no_verdicts_none_are_counted(adcli: Adcli, parts: Path) -> None:
    quick = ("-m", "padim", "--backbone", "random:resnet18", "--image-size", "64", "-o", "layers=1,2")
    assert adcli("train", *quick, "--data", parts / "train/good", "--calibration", "none", "--out", "bare").code == 0
    outcome = adcli("predict", "bare", parts / "test/scratch", "--out", "day")
    assert "6 images; written to day" in outcome.err
    assert {row["verdict"] for row in table(Path("day/predictions.csv"))} == {""}
    gate = adcli("predict", "bare", parts / "test/scratch", "--fail-on-defect")
    assert_one_line(gate, 2, "--fail-on-defect needs a threshold", "adcli calibrate bare --data DIR")
    assert not gate.out
    for options in (("--masks", "png"), ("--pictures", "outlines")):
        refused = adcli("predict", "bare", parts / "test/scratch", *options, "--out", "more")
        assert_one_line(refused, 2, f"{options[0]}", "needs a threshold", "adcli calibrate bare --data DIR")
        assert not Path("more").exists()
    assert adcli("predict", "bare", parts / "test/scratch", "--maps", "npy", "--out", "more").code == 0


def test_the_gate_lets_nothing_pass_without_images(
    adcli: Adcli, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    assert_one_line(adcli("predict", trained, "-", "--fail-on-defect"), 4, "no images were given")


def test_images_in_the_place_of_the_run_are_recognised(adcli: Adcli, trained: Path, parts: Path) -> None:
    shutil.copytree(parts / "test/good", "photos")
    shutil.copytree(trained, "run")
    image = "photos/000.png"
    assert_one_line(adcli("predict", image, "run"), 2, f"adcli predict run {image}")
    assert_one_line(adcli("predict", "photos", "last"), 2, "adcli predict last photos")
    assert_one_line(adcli("predict", image, "photos/001.png"), 2, f"adcli predict last {image} photos/001.png")


def test_a_folder_that_holds_the_images_is_not_taken_for_images(adcli: Adcli, trained: Path, parts: Path) -> None:
    shutil.copytree(parts / "test/good", "photos")
    for folder, image in (("photos", "photos/000.png"), ("photos/../photos", "photos/*.png"), ("photos", "photos")):
        assert_one_line(adcli("predict", folder, image), 5, "neither a run")


LEAVING = {
    "a list": (("runs",), 0),
    "help": (("predict", "--help"), 0),
    "a prediction": (("predict", "RUN", "PHOTOS"), 0),
    "a gate": (("predict", "RUN", "PHOTOS", "--fail-on-defect", "--batch-size", "1"), 3),
    "what cannot be read": (("predict", "RUN", "PHOTOS", "none.png", "--skip-unreadable", "--fail-on-defect"), 3),
    "an error": (("predict", "RUN", "none.png", "--out", "day"), 4),
    "a table": (("predict", "RUN", "PHOTOS", "--out", "day", "--batch-size", "1", "--format", "csv"), 0),
}


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("what", LEAVING)
def test_a_reader_that_leaves_changes_neither_the_exit_code_nor_the_table(
    trained: Path, parts: Path, tmp_path: Path, what: str, unbuffered: str
) -> None:
    words, code = LEAVING[what]
    named = {"RUN": str(trained), "PHOTOS": str(parts / "test/scratch")}
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    arguments = [named.get(word, word) for word in words]
    done = in_own_process(*arguments, cwd=tmp_path, stdout=writing, env=environment)
    os.close(writing)
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert "Exception" not in done.err
    if what == "a table":
        assert len(table(tmp_path / "day/predictions.csv")) == 6
        assert "6 images, 6 with defects" in done.err
    if what == "a prediction":
        assert "1 image, 1 with defects" in done.err


def test_options_that_need_a_table_say_so(adcli: Adcli, trained: Path, photos: Path) -> None:
    given = ("--append", "--overlays", "--maps tiff", "--masks png", "--pictures heatmap")
    for option, *value in map(str.split, given):
        assert_one_line(adcli("predict", trained, photos, option, *value), 2, f"{option} needs --out")
    both = adcli("predict", trained, photos, "--overlays", "--pictures", "heatmap", "--out", "day")
    assert_one_line(both, 2, "--overlays draws panels")


def test_from_python_every_image_has_a_prediction(trained: Path, photos: Path, tmp_path: Path) -> None:
    scorer = pipeline.open_scorer(pipeline.load(trained))
    assert (scorer.origin.run, len(scorer.origin.model)) == (trained.name, 64)
    wrong = np.zeros((3, 3), float)
    given = [*listed(photos), b"no image", wrong, "", tmp_path / "none*.png", photos / "000.png"]
    found = list(pipeline.predict(scorer, given))  # type: ignore[list-item]
    assert [i for i, prediction in enumerate(found) if prediction.problem] == [3, 6, 7, 8, 9, 10]
    assert found[0].score == found[-1].score
    (alone,) = pipeline.predict(scorer, b"no image")
    assert (alone.verdict, alone.is_defect) == ("unreadable", None)


def test_an_evaluation_says_what_it_could_not_read_and_finishes(
    adcli: Adcli, run: Path, parts: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(parts, tmp_path / "data"))
    (data / "test/good/002.png").write_bytes(b"no image")
    (data / "ground_truth/scratch/001_mask.png").write_bytes(b"no mask")
    refused = adcli("evaluate", run, "--data", data, "--name", "again")
    assert_one_line(refused, 4, "2 images or masks could not be read")
    assert "image      AUROC" in refused.out
    verdicts = [row["verdict"] for row in table(run / "evaluations/again/scores.csv")]
    assert verdicts.count("unreadable") == 1
    outcome = adcli("evaluate", run, "--data", data, "--name", "again", "--skip-unreadable")
    assert outcome.code == 0, outcome.err
    compared = adcli("compare", run, run, "--name", "again", "--json")
    assert json.loads(compared.out)["n_good"] == 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are forked")
@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl"])
def test_closed_streams_are_no_fault_of_a_prediction(trained: Path, photos: Path, tmp_path: Path, form: str) -> None:
    arguments = ["predict", str(trained), str(photos / "000.png"), "--out", "day", "--format", form]
    end = server().start(arguments, tmp_path, closed=[1]).wait()
    assert (end.code, "Traceback" in end.said) == (0, False), end
    assert len(table(tmp_path / "day/predictions.csv")) == 1
