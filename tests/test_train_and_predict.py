"""The main job, end to end: from a folder of photographs to scores of new ones."""

import csv
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import Adcli, assert_one_line, draw_part, start_adcli


def train(adcli: Adcli, data: Path, *more: object, size: str = "64") -> Path:
    """Train quickly and return the run folder."""
    quick = ("--backbone", "random:resnet18", "--image-size", size, "-o", "layers=2,3")
    outcome = adcli("train", "--model", "patchcore", "--data", data, *quick, "--json", *more)
    assert outcome.code == 0, outcome.err
    return Path(json.loads(outcome.out)["run"])


def scores(path: Path) -> dict[str, float]:
    """Return the scores in a CSV file by image."""
    with path.open() as file:
        return {row["image"]: float(row["score"]) for row in csv.DictReader(file)}


def test_a_run_folder_holds_all_that_the_design_says(adcli: Adcli, parts: Path) -> None:
    run = train(adcli, parts, "--out", "mine")
    assert run == Path("mine")
    names = {path.name for path in run.iterdir()}
    assert {"run.yaml", "model.safetensors", "calibration.json", "metrics.json", "scores.csv", "log.txt"} <= names
    assert "report.html" in names
    assert not Path(".partial").exists()
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["image"]["auroc"] > 0.9
    assert metrics["pixel"]["auroc"] > 0.8
    assert set(metrics["defects"]) == {"scratch"}
    assert len(scores(run / "scores.csv")) == 12
    assert str(Path.home()) not in (run / "scores.csv").read_text()


def test_the_same_seed_gives_the_same_scores_and_another_seed_others(adcli: Adcli, parts: Path, run: Path) -> None:
    same, other = (train(adcli, parts, "--seed", seed) for seed in (0, 6))
    assert scores(run / "scores.csv") == scores(same / "scores.csv")
    assert scores(run / "scores.csv") != scores(other / "scores.csv")


def test_a_run_can_be_repeated_from_its_own_record(adcli: Adcli, parts: Path) -> None:
    first = train(adcli, parts, "-o", "coreset=0.2", "--seed", 3, "--calibration", "0.3", "--batch-size", 5)
    outcome = adcli("train", "--config", first / "run.yaml", "--json")
    assert outcome.code == 0, outcome.err
    second = Path(json.loads(outcome.out)["run"])
    assert scores(first / "scores.csv") == scores(second / "scores.csv")


def test_a_score_does_not_depend_on_the_images_beside_it(adcli: Adcli, parts: Path, run: Path) -> None:
    together = {row["image"]: row["score"] for row in json.loads(adcli("predict", run, parts / "test", "--json").out)}
    spread = max(together.values()) - min(together.values())
    for image in list(together)[::3]:
        (alone,) = json.loads(adcli("predict", run, image, "--json", "--batch-size", 1).out)
        assert abs(alone["score"] - together[image]) <= 1e-5 * spread


def test_prediction_agrees_with_the_evaluation_of_training(adcli: Adcli, parts: Path, run: Path) -> None:
    predicted = json.loads(adcli("predict", run, parts / "test", "--json").out)
    by_name = {str(Path(row["image"]).relative_to(parts / "test")): row["score"] for row in predicted}
    assert by_name == pytest.approx(scores(run / "scores.csv"), rel=1e-5)


def test_every_format_of_prediction_says_the_same(adcli: Adcli, parts: Path, run: Path) -> None:
    assert adcli("calibrate", run, "--false-alarm-rate", "0.3").code == 0
    rows = json.loads(adcli("predict", run, parts / "test", "--format", "json").out)
    lines = [json.loads(line) for line in adcli("predict", run, parts / "test", "--format", "jsonl").out.splitlines()]
    table = list(csv.DictReader(adcli("predict", run, parts / "test", "--format", "csv").out.splitlines()))
    assert list(map(without_time, rows)) == list(map(without_time, lines))
    assert [(row["image"], row["score"], row["verdict"]) for row in rows] == [
        (row["image"], float(row["score"]), row["verdict"]) for row in table
    ]
    assert any(row["regions"] for row in rows if "scratch" in row["image"])
    boxes = [[box.split() for box in row["regions"].split("; ") if box] for row in table]
    sides = ("x", "y", "width", "height", "area", "peak")
    assert boxes == [[[str(region[side]) for side in sides] for region in row["regions"]] for row in rows]
    text = adcli("predict", run, parts / "test").out
    assert all(row["image"] in text for row in rows)


def test_paths_come_from_patterns_and_from_a_list_that_grows(adcli: Adcli, parts: Path, run: Path) -> None:
    expected = predicted(adcli, run, parts / "test/good")
    assert predicted(adcli, run, parts / "**/good/00*.png")[:6] == expected
    assert_one_line(adcli("predict", run, parts / "nothing*.png"), 4, "nothing fits")
    command = ("predict", run, "-", "--format", "jsonl", "--batch-size", "1", "--workers", "0")
    with start_adcli(*command, cwd=Path.cwd(), stdin=subprocess.PIPE, stderr=None) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for row in expected:
            process.stdin.write(f"{row['image']}\n")
            process.stdin.flush()
            # Answered before the next line is written.
            assert without_time(json.loads(process.stdout.readline())) == row
        process.stdin.close()
    assert process.returncode == 0
    assert adcli("predict", run, "-", parts).code == 2


def test_a_defect_can_fail_the_command(adcli: Adcli, parts: Path, run: Path) -> None:
    assert adcli("calibrate", run, "--false-alarm-rate", "0.3").code == 0
    assert adcli("predict", run, parts / "test/scratch", "--fail-on-defect").code == 3
    assert adcli("predict", run, parts / "test/scratch").code == 0
    threshold = json.loads((run / "calibration.json").read_text())["image_threshold"]
    rows = json.loads(adcli("predict", run, parts / "test", "--json").out)
    assert all((row["verdict"] == "defect") == (row["score"] > threshold) for row in rows)
    good = [row["image"] for row in rows if row["verdict"] == "good"]
    assert good
    assert adcli("predict", run, *good, "--fail-on-defect").code == 0


def test_overlays_and_a_table_are_written_where_asked(adcli: Adcli, parts: Path, run: Path) -> None:
    outcome = adcli("predict", run, parts / "test/scratch", "--out", "seen", "--overlays")
    assert outcome.code == 0, outcome.err
    assert len(list(Path("seen/maps").glob("*.png"))) == 6
    assert len(scores(Path("seen/predictions.csv"))) == 6


def test_evaluation_of_other_data_is_added_to_the_run(adcli: Adcli, parts: Path, tmp_path: Path, run: Path) -> None:
    before = (run / "run.yaml").read_bytes(), (run / "model.safetensors").read_bytes()
    shutil.copytree(parts, tmp_path / "others")
    for _ in range(2):  # the second time replaces the first
        outcome = adcli("evaluate", run, "--data", tmp_path / "others", "--json")
        assert outcome.code == 0, outcome.err
    evaluation = json.loads(outcome.out)
    assert Path(evaluation["evaluation"]) == run / "evaluations/others"
    assert evaluation["metrics"]["image"] == json.loads((run / "metrics.json").read_text())["image"]
    assert ((run / "run.yaml").read_bytes(), (run / "model.safetensors").read_bytes()) == before


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("how", "method"), [("0.5", "held-out"), ("3-fold", "k-fold"), ("none", "none"), ("FOLDER", "folder")]
)
def test_every_way_to_calibrate_works(adcli: Adcli, parts: Path, others: Path, how: str, method: str) -> None:
    calibration = others / "test/good" if how == "FOLDER" else how
    run = train(adcli, parts, "--calibration", calibration, "--false-alarm-rate", "0.2")
    assert json.loads((run / "calibration.json").read_text())["method"] == method
    rows = json.loads(adcli("predict", run, parts / "test", "--json").out)
    assert {row["verdict"] for row in rows} == ({""} if method == "none" else {"good", "defect"})


def test_a_run_is_calibrated_anew_with_other_good_images(adcli: Adcli, parts: Path, tmp_path: Path, run: Path) -> None:
    weights, record = ((run / name).read_bytes() for name in ("model.safetensors", "run.yaml"))
    outcome = adcli("calibrate", run, "--data", parts / "test/good", "--false-alarm-rate", "0.2", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    good = predicted(adcli, run, parts / "test/good")
    # Of six good images, 1 in 5 may exceed the threshold: the sixth highest, ceil(7 x 0.8).
    assert found["threshold"] == pytest.approx(sorted(row["score"] for row in good)[5])
    assert found["images"] == 6
    assert "at most 1 in 5" in found["promise"]
    assert found["before"] != found["threshold"]
    assert [row["p_value"] for row in good] == pytest.approx([(1 + rank) / 7 for rank in ranks(good)])
    assert [(run / name).read_bytes() for name in ("model.safetensors", "run.yaml")] == [weights, record]
    assert "left out 19 of 24 images: the model is fitted" in adcli("calibrate", run, "--data", parts).err
    assert_one_line(adcli("calibrate", run), 2, "--data", "--false-alarm-rate")
    assert_one_line(adcli("calibrate", run, "--data", tmp_path / "missing"), 4, "missing")


def predicted(adcli: Adcli, run: Path, images: Path, *more: object) -> list[dict[str, Any]]:
    """Return the rows of a prediction, which depend on nothing but the images and the run."""
    outcome = adcli("predict", run, images, "--json", *more)
    assert outcome.code == 0, outcome.err
    return list(map(without_time, json.loads(outcome.out)))


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without when it was scored: the only field that differs from call to call."""
    assert row["time"].endswith("Z")
    return {name: value for name, value in row.items() if name != "time"}


def ranks(rows: list[dict[str, Any]]) -> list[int]:
    """Return how many rows score at least as high as each."""
    return [sum(other["score"] >= row["score"] for other in rows) for row in rows]


def test_another_false_alarm_rate_needs_no_new_images(adcli: Adcli, parts: Path) -> None:
    run = train(adcli, parts, "--calibration", "0.5")
    strict, loose = (predicted(adcli, run, parts / "train/good", *rate) for rate in ((), ("--false-alarm-rate", "0.5")))
    assert [row["score"] for row in strict] == [row["score"] for row in loose]
    assert [row["verdict"] == "defect" for row in loose] == [row["p_value"] <= 0.5 for row in loose]
    assert sum(row["verdict"] == "defect" for row in loose) > sum(row["verdict"] == "defect" for row in strict)
    assert adcli("calibrate", run, "--false-alarm-rate", "0.5").code == 0
    assert predicted(adcli, run, parts / "train/good") == loose
    given = train(adcli, parts, "--threshold", "1.5", "--calibration", "none")
    for command in (("predict", given, parts / "test/good"), ("calibrate", given)):
        assert_one_line(adcli(*command, "--false-alarm-rate", "0.1"), 2, "does not come from good images")


def test_a_threshold_can_be_given_or_chosen_on_validation_images(adcli: Adcli, parts: Path, others: Path) -> None:
    run = train(adcli, parts, "--threshold", "f1", "--validation", others / "test")
    verdicts = {row["image"]: row["verdict"] for row in json.loads(adcli("predict", run, parts / "test", "--json").out)}
    wrong = [image for image, verdict in verdicts.items() if (verdict == "defect") != ("scratch" in image)]
    assert len(wrong) <= 2
    run = train(adcli, parts, "--threshold", "1e9")
    rows = json.loads(adcli("predict", run, parts / "test", "--json").out)
    assert {row["verdict"] for row in rows} == {"good"}


def test_a_folder_of_nothing_but_images_is_taken_as_good(adcli: Adcli, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(8):
        draw_part(i)[0].save(tmp_path / f"photos/{i}.png")
    run = train(adcli, tmp_path / "photos", size="48x80")
    assert not (run / "metrics.json").exists()
    assert json.loads(adcli("predict", run, tmp_path / "photos", "--json").out)


def test_runs_are_compared_on_their_test_images(adcli: Adcli, parts: Path, run: Path) -> None:
    first, second = run, train(adcli, parts, "-o", "coreset=0.05")
    outcome = adcli("compare", first, second, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["n_good"], found["n_defect"], found["left_out"]) == (6, 6, 0)
    aurocs = [json.loads((run / "metrics.json").read_text())["image"]["auroc"] for run in (first, second)]
    assert [row["auroc"] for row in found["runs"]] == pytest.approx(aurocs)
    low, high = found["runs"][1]["interval"]
    assert low <= found["runs"][1]["difference"] <= high
    table = adcli("compare", first, second).out
    assert first.name in table
    assert second.name in table
    assert_one_line(adcli("compare", first, second, "--name", "none"), 5, "no such evaluation", "adcli evaluate")
    assert adcli("compare", first).code == 2


def test_runs_are_compared_by_any_metric_and_drawn(adcli: Adcli, parts: Path, run: Path, tmp_path: Path) -> None:
    second, page = train(adcli, parts, "-o", "coreset=0.05"), tmp_path / "runs.html"
    kept = [json.loads((path / "metrics.json").read_text()) for path in (run, second)]
    for metric, level, key in (("f1_max", "image", "f1_max"), ("detection_rate", "image", "detection_rate")):
        found = json.loads(adcli("compare", run, second, "--metric", metric, "--json").out)
        assert [row["value"] for row in found["runs"]] == pytest.approx([each[level][key] for each in kept])
        assert all(row["interval"] for row in found["runs"])
    found = json.loads(adcli("compare", run, second, "--metric", "aupro", "--json").out)
    assert (found["metric"], [row["interval"] for row in found["runs"]]) == ("pixel.aupro", [None, None])
    assert [row["value"] for row in found["runs"]] == [each["pixel"]["aupro"] for each in kept]
    outcome = adcli("compare", run, second, "--metric", "aupro", "--out", page)
    assert "nobody can tell chance" in outcome.out
    assert f"difference to {run.name}" in page.read_text(encoding="utf-8")
    assert_one_line(adcli("compare", run, second, "--metric", "aurok"), 2, "--metric names 'aurok'")


def test_runs_are_listed_and_shown(adcli: Adcli, parts: Path, run: Path) -> None:
    (listed,) = json.loads(adcli("runs", "--json").out)
    assert (listed["name"], listed["state"], listed["model"]) == (run.name, "finished", "patchcore")
    assert json.loads(adcli("runs", "show", "last", "--json").out)["record"]["data"]["fitted"] == 19
    assert run.name in adcli("runs").out


def test_the_python_interface_does_the_same(adcli: Adcli, parts: Path, trained: Path) -> None:
    """The fixture ``trained`` is a run of ``pipeline.train``."""
    from adcli import pipeline

    again = pipeline.load(trained)
    predictions = list(pipeline.predict(again, [parts / "test"]))
    assert scores(train(adcli, parts) / "scores.csv") == scores(trained / "scores.csv")
    assert len(predictions) == 12
    alone = parts / "test/good/000.png"
    for given in (alone, str(alone), [alone]):
        assert [prediction.path for prediction in pipeline.predict(again, given)] == [alone]
    found = predictions[-1].map
    assert found is not None
    assert found.shape == (64, 64)
    assert np.isfinite(found).all()
