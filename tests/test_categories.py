"""Several categories of a data set: a run for each, and their mean."""

import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import Adcli, Outcome, assert_one_line, draw_part, scored_rows, write_parts

from adcli import pipeline
from adcli.nn import distributed
from adcli.pipeline import _finishing

QUICK = ("-m", "patchcore", "--backbone", "random:resnet18", "--image-size", "64", "-o", "layers=2,3")
GOOD = "train/good/000.png"


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """MVTec AD of which three categories are there."""
    root = tmp_path / "mvtec"
    for name in ("bottle", "cable", "tile"):
        write_category(root / name)
    return root


def write_category(folder: Path) -> None:
    """Write a category as MVTec AD has it, the same for the same name."""
    write_parts(folder, train=10, good=3, defective=3)
    draw_part(len(folder.name))[0].save(folder / GOOD)
    for mask in list(folder.glob("ground_truth/*/*.png")):
        if not mask.stem.endswith("_mask"):
            mask.rename(mask.with_name(f"{mask.stem}_mask.png"))


def train(adcli: Adcli, root: Path, reference: str, *more: object) -> Outcome:
    return adcli("train", *QUICK, "--data", reference, "-d", f"root={root}", *more)


def runs() -> list[str]:
    """Return the names of the runs under ``runs`` without their time."""
    return sorted(path.name.partition("-patchcore-")[2] for path in Path("runs").glob("2*"))


def rows(text: str) -> dict[str, list[str]]:
    """Return the rows of a printed table by their first cell."""
    cells = [line.split("\t") for line in text.splitlines()]
    return {first: rest for first, *rest in cells}


def test_every_category_that_is_there_has_a_run_and_the_table_ends_with_their_mean(adcli: Adcli, shelf: Path) -> None:
    outcome = train(adcli, shelf, "mvtec_ad")
    assert outcome.code == 0, outcome.err
    assert runs() == ["bottle", "cable", "tile"]
    table = rows(outcome.out)
    assert list(table) == ["category", "bottle", "cable", "tile", "mean of 3"]
    for name in ("bottle", "cable", "tile"):
        metrics = json.loads((Path(table[name][-1]) / "metrics.json").read_text())
        expected = [metrics["image"]["auroc"], metrics["image"]["f1_max"]]
        expected += [metrics["pixel"]["auroc"], metrics["pixel"]["aupro"]]
        assert table[name][:4] == [f"{value:.3f}" for value in expected]
    assert "3 of 15 categories are there" in outcome.err
    assert "capsule, carpet" in outcome.err


@pytest.mark.thorough
def test_each_run_is_the_one_that_its_category_alone_makes(adcli: Adcli, shelf: Path) -> None:
    together = json.loads(train(adcli, shelf, "mvtec_ad:cable,tile", "--out", "all", "--json").out)
    alone = json.loads(train(adcli, shelf, "mvtec_ad:tile", "--json").out)
    run = together["categories"][1]
    assert run["run"] == "all/tile"
    assert scored_rows(Path(run["run"])) == scored_rows(Path(alone["run"]))
    assert {key: run[key] for key in ("threshold", "promise")} == {key: alone[key] for key in ("threshold", "promise")}
    again = adcli("train", "--config", "all/tile/run.yaml", "--json")
    assert json.loads(again.out)["metrics"]["image"] == alone["metrics"]["image"]


def test_the_document_has_each_category_and_the_means_of_what_all_have(adcli: Adcli, shelf: Path) -> None:
    document = json.loads(train(adcli, shelf, "mvtec_ad", "--json").out)
    assert [item["category"] for item in document["categories"]] == ["bottle", "cable", "tile"]
    assert document["mean"]["categories"] == 3
    for level, name in (("image", "auroc"), ("image", "average_precision"), ("pixel", "aupro")):
        values = [item["metrics"][level][name] for item in document["categories"]]
        assert document["mean"][level][name] == pytest.approx(statistics.mean(values))
    assert len(document["missing"]) == 12


def test_a_mean_leaves_out_what_a_category_lacks() -> None:
    def result(name: str, **metrics: dict[str, float]) -> pipeline.CategoryResult:
        return pipeline.CategoryResult(name, 1.0, object(), metrics)  # type: ignore[arg-type]

    measured = [
        result("a", image={"auroc": 0.5}, pixel={"auroc": 0.9}),
        result("b", image={"auroc": 0.7}),
        pipeline.CategoryResult("c", 1.0),
    ]
    assert pipeline.TrainedCategories("d", measured).mean() == {"image": {"auroc": 0.6}, "pixel": {}}


def test_a_category_that_fails_is_said_in_its_row_and_ends_no_other(adcli: Adcli, shelf: Path) -> None:
    (shelf / "bottle/train/good/003.png").write_bytes(b"no image")
    shutil.rmtree(shelf / "cable/train")
    outcome = train(adcli, shelf, "mvtec_ad")
    assert_one_line(outcome, 1, "2 of 3 categories", "bottle, cable")
    assert runs() == ["tile"]
    assert not Path("runs/.partial").exists()
    table = rows(outcome.out)
    assert "003.png" in table["bottle"][-1]
    assert "expected train" in table["cable"][-1]
    assert table["mean of 1"][:4] == table["tile"][:4]
    document = train(adcli, shelf, "mvtec_ad", "--json")
    assert document.code == 1
    assert [item["error"] and item["error"]["exit_code"] for item in json.loads(document.out)["categories"]] == [
        4,
        4,
        None,
    ]


def test_a_category_that_could_not_be_evaluated_has_a_run_and_no_part_in_the_mean(
    adcli: Adcli, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = _finishing.evaluate_into

    def fail_for_cable(folder: Path, *others: Any) -> Any:
        if "cable" in str(folder):
            raise OSError(28, "No space left on device")
        return evaluate(folder, *others)

    monkeypatch.setattr(_finishing, "evaluate_into", fail_for_cable)
    outcome = train(adcli, shelf, "mvtec_ad")
    assert_one_line(outcome, 1, "1 of 3 categories", "evaluation: cable")
    assert runs() == ["bottle", "cable", "tile"]
    table = rows(outcome.out)
    (run,) = Path("runs").glob("*-cable")
    assert f"go on with: adcli evaluate {run}" in table["cable"][-1]
    assert table["mean of 2"][0] == f"{(float(table['bottle'][0]) + float(table['tile'][0])) / 2:.3f}"
    assert adcli("evaluate", run).code == 0


@pytest.mark.parametrize(
    ("reference", "more", "code", "words"),
    [
        ("mvtec_ad:bottle,carpet", (), 4, ["carpet/train", "found bottle, cable, tile"]),
        ("mvtec_ad:bottle,cabel", (), 2, ["no category 'cabel'", "Did you mean 'cable'?"]),
        ("mvtec_ad", ("-o", "coreset=2"), 2, ["coreset"]),
        ("mvtec_ad", ("-o", "weights=none.safetensors"), 7, ["none.safetensors"]),
        ("mvtec_ad", ("--calibration", "somewhere"), 2, ["--calibration somewhere", "one category"]),
        ("mvtec_ad", ("--validation", "somewhere"), 2, ["--validation somewhere", "one category"]),
        ("mvtec_ad", ("-d", "root=nowhere"), 4, ["nowhere"]),
    ],
)
def test_what_is_wrong_for_all_ends_all(
    adcli: Adcli, shelf: Path, reference: str, more: Sequence[object], code: int, words: list[str]
) -> None:
    arguments = [value for value in QUICK if "weights=none.safetensors" not in more or value not in QUICK[2:4]]
    root = () if "-d" in more else ("-d", f"root={shelf}")
    outcome = adcli("train", *arguments, "--data", reference, *root, *more)
    assert_one_line(outcome, code, *words)
    assert outcome.out == ""
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_nothing_is_overwritten_nor_trained_before_that_is_said(adcli: Adcli, shelf: Path) -> None:
    Path("all/tile").mkdir(parents=True)
    assert_one_line(train(adcli, shelf, "mvtec_ad", "--out", "all"), 9, "all/tile", "exists already")
    assert [path.name for path in Path("all").iterdir()] == ["tile"]
    assert train(adcli, shelf, "mvtec_ad:bottle,cable", "--out", "all").code == 0
    assert sorted(path.name for path in Path("all").iterdir()) == ["bottle", "cable", "tile"]


def test_an_interruption_ends_all_and_keeps_what_is_finished(
    adcli: Adcli, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adcli.pipeline import _train as training

    build = training.build_model
    built = []

    def interrupted(*arguments: object, **more: object) -> object:
        built.append(1)
        if len(built) == 2:
            raise KeyboardInterrupt
        return build(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "build_model", interrupted)
    outcome = train(adcli, shelf, "mvtec_ad", "--out", "all")
    assert (outcome.code, outcome.out) == (130, "")
    assert "adcli train --resume all/.partial/cable" in outcome.err
    assert sorted(path.name for path in Path("all").iterdir()) == [".partial", "bottle"]


def test_several_processes_are_told_to_take_one_category(
    adcli: Adcli, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    assert_one_line(train(adcli, shelf, "mvtec_ad"), 2, "single process", "--data mvtec_ad:bottle")


def test_other_commands_say_that_they_take_one_category(adcli: Adcli, shelf: Path) -> None:
    run = json.loads(train(adcli, shelf, "mvtec_ad:tile", "--json").out)["run"]
    options = ("-d", f"root={shelf}")
    assert_one_line(adcli("evaluate", run, "--data", "mvtec_ad", *options), 2, "needs a category", "mvtec_ad:CATEGORY")
    several = adcli("evaluate", run, "--data", "mvtec_ad:tile,cable", *options)
    assert_one_line(several, 2, "several categories", "--data mvtec_ad:tile")


def test_a_folder_named_as_a_data_set_is_the_folder(adcli: Adcli, shelf: Path) -> None:
    shutil.copytree(shelf / "tile", "mvtec_ad")
    assert adcli("train", *QUICK, "--data", "mvtec_ad").code == 0
    assert runs() == ["mvtec_ad"]
