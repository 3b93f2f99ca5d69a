"""What a run stores of its data is found from any folder."""

import json
from pathlib import Path

import pytest
import yaml
from support import Adcli, write_parts

from adcli import Options, option
from adcli.data.references import with_absolute_paths

QUICK = ("-m", "patchcore", "--backbone", "random:resnet18", "--image-size", "64", "-o", "layers=2,3", "--json")


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """MVTec AD with one category, in the folder where commands start."""
    write_parts(tmp_path / "mvtec/bottle", train=10, good=3, defective=3)
    for mask in list((tmp_path / "mvtec/bottle/ground_truth/scratch").glob("*.png")):
        if not mask.stem.endswith("_mask"):
            mask.rename(mask.with_name(f"{mask.stem}_mask.png"))
    return tmp_path


def elsewhere(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shelf / "elsewhere").mkdir()
    monkeypatch.chdir(shelf / "elsewhere")


def test_a_run_on_a_relative_root_is_evaluated_and_repeated_from_another_folder(
    adcli: Adcli, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = json.loads(adcli("train", *QUICK, "--data", "mvtec_ad:bottle", "-d", "root=mvtec", "--out", "first").out)
    elsewhere(shelf, monkeypatch)
    evaluated = adcli("evaluate", "../first", "--json")
    assert evaluated.code == 0, evaluated.err
    assert json.loads(evaluated.out)["metrics"]["image"] == trained["metrics"]["image"]
    repeated = adcli("train", "--config", "../first/run.yaml", "--json")
    assert json.loads(repeated.out)["metrics"]["image"] == trained["metrics"]["image"]


def test_folders_of_calibration_and_validation_are_found_from_another_folder(
    adcli: Adcli, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parts(shelf / "others", train=1, good=3, defective=3, seed=100_000)
    folders = ("--calibration", "others/test/good", "--threshold", "f1", "--validation", "others/test")
    trained = adcli("train", *QUICK, "--data", "mvtec/bottle", *folders, "--out", "first")
    assert trained.code == 0, trained.err
    elsewhere(shelf, monkeypatch)
    repeated = adcli("train", "--config", "../first/run.yaml", "--json")
    assert repeated.code == 0, repeated.err
    assert json.loads(repeated.out)["threshold"] == json.loads(trained.out)["threshold"]


def test_an_evaluation_of_other_data_is_made_anew_from_another_folder(
    adcli: Adcli, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert adcli("train", *QUICK, "--data", "mvtec/bottle", "--out", "first").code == 0
    options = ("--data", "mvtec_ad:bottle", "-d", "root=mvtec", "--name", "again")
    assert adcli("evaluate", "first", *options).code == 0
    elsewhere(shelf, monkeypatch)
    page = shelf / "first/evaluations/again/report.html"
    page.unlink()
    made = adcli("report", "../first", "--name", "again")
    assert made.code == 0, made.err
    assert page.is_file()


def test_only_the_options_that_were_given_are_stored(adcli: Adcli, shelf: Path) -> None:
    del shelf
    assert adcli("train", *QUICK, "--data", "mvtec/bottle", "-d", "seed=3", "--out", "first").code == 0
    assert yaml.safe_load(Path("first/run.yaml").read_text())["data_options"] == {"seed": 3}


class Places(Options):
    """Options that are paths, and others."""

    one: Path | None = option(None, "A path.")
    more: tuple[Path, ...] = option((), "Several.")
    text: str = option("a/b", "No path.")


def test_paths_among_options_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert with_absolute_paths(Places()) == Places()
    found = with_absolute_paths(Places(one=Path("../a"), more=(Path("b"), Path("/c"), Path("~/d"))))
    assert found.one == tmp_path.parent / "a"
    assert found.more == (tmp_path / "b", Path("/c"), Path("/home/someone/d"))
    assert found.text == "a/b"
