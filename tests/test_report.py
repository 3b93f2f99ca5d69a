"""A run comes with a page to look at, which shows the run as it is now."""

import html
import json
import re
import shlex
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


def command_in(page: Path, threshold: float) -> list[str]:
    """Return the command that the page prints for a threshold, as a shell reads it."""
    (begun,) = re.findall(r'data-command="([^"]*)"', page.read_text())
    return [*shlex.split(html.unescape(begun)), str(threshold)]


@pytest.mark.parametrize("out", [None, "deep/in a folder/it's", "-dash"])
@pytest.mark.parametrize("threshold", [12.25, -1.5])
def test_the_command_for_another_threshold_works_where_the_page_was_made(
    adcli: Adcli, run: Path, parts: Path, out: str | None, threshold: float
) -> None:
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        run = run.rename(out)
    (run / "report.html").unlink()
    assert adcli("report", Path.cwd() / run).code == 0
    program, *arguments = command_in(run / "report.html", threshold)
    assert program == "adcli"
    outcome = adcli(*arguments)
    assert outcome.code == 0, outcome.err
    assert json.loads((run / "calibration.json").read_text())["image_threshold"] == threshold


def test_the_page_names_and_shows_the_image_that_sets_the_threshold(adcli: Adcli, run: Path) -> None:
    calibration = json.loads((run / "calibration.json").read_text())
    page = run / "report.html"
    assert f"{calibration['images'][-1]}, score {calibration['image_scores'][-1]:.6g}" in words(page)
    (picture,) = re.findall(r'<img src="(data:image/webp;base64,[^"]*)"', page.read_text())
    assert len(picture) <= 60_000
    (run / "calibrations/0001.jpg").unlink()
    page.unlink()
    assert adcli("report", run).code == 0
    assert "<img" not in page.read_text()
    assert f"{calibration['images'][-1]}, score" in words(page)


def test_no_picture_is_taken_from_outside_the_run(adcli: Adcli, run: Path, tmp_path: Path) -> None:
    picture = run / "calibrations/0001.jpg"
    shutil.move(picture, tmp_path / "private.jpg")
    picture.symlink_to(tmp_path / "private.jpg")
    (run / "report.html").unlink()
    assert_one_line(adcli("report", run), 5, str(picture))


def test_the_page_says_which_calibration_it_shows(adcli: Adcli, run: Path) -> None:
    page = run / "report.html"
    assert re.search(r"Calibration 1, made \d{4}-\d\d-\d\d \d\d:\d\d UTC", words(page))
    for arguments, said in (
        (("--false-alarm-rate", 0.4), "Calibration 2, made"),
        (("--undo",), "it brings back calibration 1."),
    ):
        assert adcli("calibrate", run, *arguments).code == 0
        assert said not in words(page)
        assert adcli("report", run).code == 0
        assert said in words(page)


def test_test_images_that_cannot_be_read_are_listed_with_the_reason(adcli: Adcli, run: Path, parts: Path) -> None:
    data = Path(shutil.copytree(parts, "data"))
    (data / "test/scratch/002.png").write_bytes((data / "test/scratch/002.png").read_bytes()[:300])
    outcome = adcli("evaluate", run, "--data", data, "--name", "cut", "--skip-unreadable")
    assert outcome.code in (0, 4), outcome.err
    page = run / "evaluations/cut/report.html"
    assert "UNREADABLE" in words(page)
    assert re.search(r"002\.png UNREADABLE \S", words(page))
    assert page.read_text().count('class="card judged"') == 11


def test_a_lost_page_is_made_again_the_same(adcli: Adcli, run: Path) -> None:
    before = words(run / "report.html")
    (run / "report.html").unlink()
    assert adcli("report", run).code == 0
    assert words(run / "report.html") == before


def test_a_run_that_lost_its_metrics_is_none_without_test_images(adcli: Adcli, run: Path) -> None:
    for name in ("report.html", "metrics.json"):
        (run / name).unlink()
    assert adcli("report", run).code == 0
    assert "AUROC" in words(run / "report.html")
    assert (run / "report.html").read_text().count("<article") == 12
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
