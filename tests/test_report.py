"""A run comes with a page to look at, which shows the run as it is now."""

import json
import re
import shutil
from pathlib import Path

import pytest
from support import Adcli, assert_one_line

QUICK = ("--model", "patchcore", "--backbone", "random:resnet18", "--image-size", "64", "-o", "layers=2,3", "--json")


def train(adcli: Adcli, data: Path) -> Path:
    outcome = adcli("train", *QUICK, "--data", data, "--out", "mine")
    assert outcome.code == 0, outcome.err
    return Path("mine")


def words(page: Path) -> str:
    """Return a page's text without its markup."""
    return " ".join(re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", page.read_text(), flags=re.DOTALL).split())


def test_training_writes_a_page_with_the_promise_the_metrics_and_every_test_image(adcli: Adcli, run: Path) -> None:
    page = run / "report.html"
    assert page.read_bytes() == (run / "evaluations/test/report.html").read_bytes()
    text = words(page)
    shown = json.loads(adcli("runs", "show", run, "--json").out)
    assert shown["promise"].replace("'", "&#39;") in text
    assert f"AUROC {shown['metrics']['image']['auroc']:.3f}" in text
    assert all(f"{kind}/{i:03}.png" in text for kind in ("good", "scratch") for i in range(6))
    assert page.read_text().count("<article") == 12
    assert shown["record"]["weights"] in text


def test_the_page_is_found_and_left_as_it_is(adcli: Adcli, run: Path) -> None:
    before = (run / "report.html").stat().st_mtime_ns
    outcome = adcli("report", run, "--json")
    assert json.loads(outcome.out) == {"run": str(run), "report": f"{run}/report.html"}
    assert (run / "report.html").stat().st_mtime_ns == before


def test_the_page_follows_a_new_threshold(adcli: Adcli, run: Path) -> None:
    assert adcli("calibrate", run, "--false-alarm-rate", 0.4).code == 0
    promise = json.loads(adcli("runs", "show", run, "--json").out)["promise"]
    assert promise not in words(run / "report.html")
    assert adcli("report", run).out.strip() == f"{run}/report.html"
    for page in (run / "report.html", run / "evaluations/test/report.html"):
        assert promise in words(page)
    assert (run / "metrics.json").read_bytes() == (run / "evaluations/test/metrics.json").read_bytes()


def test_a_lost_page_is_made_again_the_same(adcli: Adcli, run: Path) -> None:
    before = words(run / "report.html")
    (run / "report.html").unlink()
    assert adcli("report", run).code == 0
    assert words(run / "report.html") == before


def test_a_run_that_lost_its_metrics_is_none_without_test_images(adcli: Adcli, run: Path) -> None:
    before = words(run / "report.html")
    for name in ("report.html", "metrics.json"):
        (run / name).unlink()
    assert adcli("report", run).code == 0
    assert words(run / "report.html") == before
    assert (run / "metrics.json").is_file()


def test_an_evaluation_of_other_images_has_a_page_of_its_own(adcli: Adcli, run: Path, parts: Path) -> None:
    top = (run / "report.html").read_bytes()
    assert adcli("evaluate", run, "--data", parts, "--name", "more").code == 0
    page = run / "evaluations/more/report.html"
    assert adcli("report", run, "--name", "more").out.strip() == str(page)
    assert (run / "report.html").read_bytes() == top
    adcli("calibrate", run, "--false-alarm-rate", 0.4)
    assert adcli("report", run, "--name", "more").code == 0
    assert json.loads(adcli("runs", "show", run, "--json").out)["promise"] in words(page)


def test_without_test_images_the_page_shows_the_promise(adcli: Adcli, parts: Path) -> None:
    run = train(adcli, parts / "train/good")
    assert "without test images" in words(run / "report.html")
    adcli("calibrate", run, "--false-alarm-rate", 0.4)
    assert adcli("report", run).code == 0
    assert json.loads(adcli("runs", "show", run, "--json").out)["promise"] in words(run / "report.html")


def test_what_is_missing_is_said_in_one_line_and_the_page_stays(adcli: Adcli, parts: Path, tmp_path: Path) -> None:
    run = train(adcli, Path(shutil.copytree(parts, tmp_path / "data")))
    assert_one_line(adcli("report", run, "--name", "other"), 5, "other", "adcli evaluate")
    adcli("calibrate", run, "--false-alarm-rate", 0.4)
    before = (run / "report.html").read_bytes()
    shutil.rmtree(tmp_path / "data")
    assert_one_line(adcli("report", run), 4, "data: no such folder")
    assert (run / "report.html").read_bytes() == before
    assert_one_line(adcli("report", "nothing"), 5, "nothing")


def test_the_page_can_be_opened(adcli: Adcli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: not opened.append(url))
    assert adcli("report", run, "--open").code == 0
    assert opened == [(run / "report.html").absolute().as_uri()]
