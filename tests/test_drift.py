"""``adcli drift`` as a user has it: since when images have changed, how sure, and which show it."""

import csv
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image
from support import Adcli, Outcome, assert_one_line, draw_part
from test_export import train, without_torch

from adcli import pipeline
from adcli.cli.drift import count_images
from adcli.errors import OptionError

SOON = ("--alarms", "1/200")
"""A rate of alarms for short streams."""

COUNT, CHANGE = 60, 30


def write_line(folder: Path, count: int = COUNT, change: int = CHANGE, *, seed: int = 7000) -> Path:
    """Write photographs of good parts, brighter from some number on, as ``img1.png``, ``img2.png``, ..."""
    folder.mkdir(parents=True)
    for i in range(count):
        part = draw_part(seed + i)[0]
        shown = part if i < change else part.point(lambda level: min(level + 60, 255))
        shown.save(folder / f"img{i + 1}.png")
    return folder


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A line whose lamp was turned up; read only."""
    return write_line(tmp_path_factory.mktemp("line") / "photos")


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A line on which nothing changed; read only."""
    return write_line(tmp_path_factory.mktemp("steady") / "photos", COUNT, COUNT)


def facts(outcome: Outcome) -> dict[str, str]:
    """Return what was printed, by name."""
    assert outcome.code == 0, outcome
    return {text[:10].strip(): text[11:] for text in outcome.out.splitlines()}


# What is found


def test_a_change_is_found_where_it_is_with_the_images_that_show_it(adcli: Adcli, trained: Path, line: Path) -> None:
    found = json.loads(adcli("drift", trained, "--data", line, *SOON, "--json").out)
    assert found["drift"]
    since, alarm = found["since"], found["alarm"]
    assert since["scores"] == "higher"
    assert abs(since["number"] - (CHANGE + 1)) <= 2
    assert since["earliest"] <= CHANGE + 1 <= since["latest"]
    assert since["image"] == f"img{since['number']}.png"
    assert Path(since["path"]) == line / since["image"]
    assert CHANGE < alarm["number"] <= COUNT
    assert found["statistic"] >= found["between"] == 200
    assert found["chance"] == pytest.approx(COUNT / found["statistic"])
    assert found["bound"] == pytest.approx(COUNT / 200)
    assert found["before"]["images"] + found["after"]["images"] == found["images"] == COUNT
    assert found["after"]["median"] > found["before"]["median"]
    shown = found["shown_by"]
    assert len(shown) == 6
    assert all(one["number"] >= since["number"] for one in shown)
    assert [one["score"] for one in shown] == sorted((one["score"] for one in shown), reverse=True)


def test_it_is_said_in_words(adcli: Adcli, trained: Path, line: Path) -> None:
    told = facts(adcli("drift", trained, "--data", line, *SOON))
    assert re.search(r"scores are higher from image (29|3[0-3]) on, img\d+\.png \(95 %: \d+ to \d+\)", told["drift"])
    assert "with a probability of at most" in told["sure"]
    assert re.fullmatch(r"due at image \d+, img\d+\.png, where R reached 200", told["alarm"])
    assert re.fullmatch(r"\d+ images, median score [\d.]+, [\d.]+% rejected", told["until then"])
    assert told["shown by"].count("img") == 6
    assert "0.3" in told["bound"]
    assert "if their order does not matter" in told["bound"]


def test_lower_scores_are_a_change_too(adcli: Adcli, trained: Path, line: Path, tmp_path: Path) -> None:
    table = tmp_path / "back.csv"
    table.write_text("image\n" + "".join(f"{line / f'img{number}.png'}\n" for number in range(COUNT, 0, -1)))
    found = json.loads(adcli("drift", trained, "--data", f"table:{table}", *SOON, "--json").out)
    assert found["order"] == "the order of the table's rows"
    assert found["since"]["scores"] == "lower"
    assert abs(found["since"]["number"] - (COUNT - CHANGE + 1)) <= 2
    assert found["shown_by"][0]["score"] < found["before"]["median"]
    assert found["shown_by"][0]["score"] < found["shown_by"][-1]["score"]


def test_nothing_is_found_if_nothing_changed(adcli: Adcli, trained: Path, steady: Path) -> None:
    outcome = adcli("drift", trained, "--data", steady, "--fail-on-drift", "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 0
    assert (found["drift"], found["alarm"], found["since"], found["after"]) == (False, None, None, None)
    assert (found["shown_by"], found["images"], found["between"]) == ([], COUNT, 10_000)
    assert found["bound"] == COUNT / 10_000
    assert "none found: R reached" in facts(adcli("drift", trained, "--data", steady))["drift"]


def test_a_script_learns_of_drift_by_the_code(adcli: Adcli, trained: Path, line: Path) -> None:
    assert adcli("drift", trained, "--data", line, *SOON).code == 0
    assert adcli("drift", trained, "--data", line, *SOON, "--fail-on-drift").code == 3


def test_the_same_images_have_the_same_answer(adcli: Adcli, trained: Path, line: Path) -> None:
    first, again = (adcli("drift", trained, "--data", line, *SOON, "--json").out for _ in range(2))
    assert first == again


def test_neighbours_that_are_alike_void_the_bound_and_that_is_said(adcli: Adcli, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(48):
        level = 12 * (i // 6 % 4)
        draw_part(9000 + i)[0].point(lambda shade, level=level: min(shade + level, 255)).save(folder / f"{i}.png")
    outcome = adcli("drift", trained, "--data", folder, "--alarms", "1/1000000000")
    assert re.search(r"but not here: neighbours are alike \(correlation 0\.\d\d\)", facts(outcome)["bound"])


# Where the images come from


def test_a_table_of_predictions_is_not_scored_again(
    adcli: Adcli, trained: Path, line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "line.csv"
    table.write_text("image\n" + "".join(f"{line / f'img{number}.png'}\n" for number in range(1, COUNT + 1)))
    scored = json.loads(adcli("drift", trained, "--data", f"table:{table}", *SOON, "--json").out)
    paths = [line / f"img{number}.png" for number in range(1, COUNT + 1)]
    assert adcli("predict", trained, *paths, "--out", "checked").code == 0
    monkeypatch.setattr("adcli.runs.run.Run.runtime", None)
    outcome = adcli("drift", trained, "--scores", "checked/predictions.csv", *SOON, "--json", "--out", "page.html")
    read = json.loads(outcome.out)
    for one in (read["since"], read["alarm"], *read["shown_by"], scored["since"], scored["alarm"], *scored["shown_by"]):
        del one["image"]
    assert read.pop("page") == "page.html"
    del scored["page"]
    assert read == scored
    assert (tmp_path / "page.html").read_text().count("data:image/webp") >= 6


def test_what_a_row_says_is_unreadable_does_not_count(adcli: Adcli, trained: Path, steady: Path) -> None:
    Path("broken.png").write_bytes(b"no image")
    images = [steady / f"img{number}.png" for number in range(1, 13)]
    adcli("predict", trained, *images, "broken.png", "--out", "checked")
    found = json.loads(adcli("drift", trained, "--scores", "checked/predictions.csv", "--json").out)
    assert (found["images"], found["left_out"]) == (12, {"cannot be read": 1})


def test_images_that_the_model_knows_are_left_out(
    adcli: Adcli, trained: Path, parts: Path, steady: Path, tmp_path: Path
) -> None:
    for number in range(1, 13):
        shutil.copy(steady / f"img{number}.png", tmp_path / f"new{number}.png")
    mixed = Path(shutil.copytree(parts / "train/good", tmp_path / "mixed"))
    for number in range(1, 13):
        shutil.copy(steady / f"img{number}.png", mixed / f"new{number}.png")
    found = json.loads(adcli("drift", trained, "--data", mixed, "--json").out)
    calibrating = pipeline.load(trained).calibration.n
    assert found["images"] == 12
    assert found["left_out"] == {"the model is fitted to": 24 - calibrating, "calibrate": calibrating}
    outcome = adcli("drift", trained, "--data", parts / "train/good")
    assert_one_line(outcome, 4, "no image is left", "--data")


def test_an_unreadable_image_is_an_error_unless_it_may_be_skipped(
    adcli: Adcli, trained: Path, steady: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(steady, tmp_path / "photos"))
    (folder / "img7.png").write_bytes(b"no image")
    assert_one_line(adcli("drift", trained, "--data", folder), 4, "img7.png", "--skip-unreadable")
    found = json.loads(adcli("drift", trained, "--data", folder, "--skip-unreadable", "--json").out)
    assert (found["images"], found["left_out"]) == (COUNT - 1, {"cannot be read": 1})


# The page


def test_the_page_draws_it_and_needs_no_network(adcli: Adcli, trained: Path, line: Path, tmp_path: Path) -> None:
    told = facts(adcli("drift", trained, "--data", line, *SOON, "--out", "new/drift.html"))
    assert told["look at"] == "new/drift.html"
    page = (tmp_path / "new/drift.html").read_text()
    assert page.count("<svg") == 2
    assert page.count('class="card"') == page.count("data:image/webp;base64") == 12
    for name in ("drift", "sure", "alarm", "shown by"):
        assert told[name] in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert adcli("drift", trained, "--data", line, "--out", "new/drift.html").code == 0


@pytest.mark.parametrize(
    ("out", "code", "words"),
    [
        ("drift.png", 2, ("--out", ".html")),
        ("mine.html", 9, ("mine.html", "no page of adcli drift")),
        ("folder.html", 9, ("folder.html", "is a folder")),
    ],
)
def test_no_file_of_others_is_replaced(
    adcli: Adcli, trained: Path, steady: Path, tmp_path: Path, out: str, code: int, words: Iterable[str]
) -> None:
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    (tmp_path / "folder.html").mkdir()
    assert_one_line(adcli("drift", trained, "--data", steady, "--out", out), code, *words)
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"
    assert not (tmp_path / "drift.png").exists()


# What is asked for


@pytest.mark.parametrize(
    ("alarms", "rate", "between"),
    [
        ("1/10000", None, 10_000),
        ("2/10000", None, 5_000),
        ("1/90d", "500/d", 45_000),
        ("1/1y", "1/h", 8_760),
        ("3/2w", "60/d", 280),
        ("1/12h", "1000/2d", 250),
    ],
)
def test_alarms_are_asked_for_in_images_or_in_time(alarms: str, rate: str | None, between: float) -> None:
    assert count_images(alarms, rate) == pytest.approx(between)


@pytest.mark.parametrize(
    ("alarms", "rate", "option"),
    [
        ("often", None, "--alarms"),
        ("1/0", None, "--alarms"),
        ("0/5", None, "--alarms"),
        ("1/90m", "500/d", "--alarms"),
        ("1/-5", None, "--alarms"),
        ("1/1e4", None, "--alarms"),
        ("1/" + "9" * 5000, None, "--alarms"),
        ("1/٩", None, "--alarms"),
        ("1/90d", None, "--alarms"),
        ("1/10000", "500/d", "--rate"),
        ("1/90d", "500", "--rate"),
        ("1/90d", "500/7", "--rate"),
        ("1/90d", "0/d", "--rate"),
        ("1/90d", "500/day", "--rate"),
    ],
)
def test_alarms_that_make_no_sense_are_refused(alarms: str, rate: str | None, option: str) -> None:
    with pytest.raises(OptionError) as refused:
        count_images(alarms, rate)
    assert refused.value.option == option
    assert "such as" in str(refused.value)


def test_a_wrong_request_is_one_line(adcli: Adcli, trained: Path, steady: Path) -> None:
    for arguments, code, words in (
        ((), 2, ("--data", "--scores")),
        (("--data", steady, "--scores", "x.csv"), 2, ("one of them",)),
        (("--data", steady, "--alarms", "1/5"), 2, ("--alarms", "10 images or more")),
        (("--data", "nowhere/"), 4, ("nowhere", "no such folder")),
        (("--scores", "x.csv"), 4, ("x.csv: no such file", "adcli predict")),
        (("--scores", trained / "images.csv"), 4, ("images.csv", "no verdict record")),
        (("--scores", trained), 4, ("cannot be read",)),
    ):
        assert_one_line(adcli("drift", trained, *arguments), code, *words)


def test_scores_of_another_model_are_refused(adcli: Adcli, trained: Path, steady: Path, tmp_path: Path) -> None:
    adcli("predict", trained, steady / "img1.png", steady / "img2.png", "--out", "checked")
    table = tmp_path / "checked/predictions.csv"
    rows = list(csv.reader(table.open(newline="")))
    rows[2][rows[0].index("model")] = "0" * 64
    with table.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    assert_one_line(adcli("drift", trained, "--scores", table), 4, "row 2", "img2.png", "another model", "--data")


# Other calibrations, and exports


@pytest.mark.thorough
def test_the_scores_of_folds_are_no_beginning(adcli: Adcli, parts: Path, line: Path, tmp_path: Path) -> None:
    options = {"backbone": "random:resnet18"}
    folds = pipeline.TrainSettings(model="dfm", data=str(parts), image_size="64", calibration="3-fold", options=options)
    run = pipeline.train(folds, out=tmp_path / "folds").run
    outcome = adcli("drift", run.path, "--data", line, *SOON, "--json")
    found = json.loads(outcome.out)
    assert found["calibrating"] == 0
    assert "those of folds" in outcome.err
    assert abs(found["since"]["number"] - (CHANGE + 1)) <= 3


@pytest.mark.thorough
def test_with_zones_the_score_of_the_photograph_counts(adcli: Adcli, parts: Path, line: Path, tmp_path: Path) -> None:
    options = {"backbone": "random:resnet18"}
    zones = "upper=0,0,64,32 lower=0,32,64,32"
    settings = pipeline.TrainSettings(model="dfm", data=str(parts), image_size="32x64", region=zones, options=options)
    run = pipeline.train(settings, out=tmp_path / "zones").run
    found = json.loads(adcli("drift", run.path, "--data", line, *SOON, "--json").out)
    assert abs(found["since"]["number"] - (CHANGE + 1)) <= 3
    adcli("predict", run.path, *line.iterdir(), "--out", "checked")
    assert adcli("drift", run.path, "--scores", "checked/predictions.csv").code == 0
    pipeline.recalibrate(run, rate=0.3)
    outcome = adcli("drift", run.path, "--scores", "checked/predictions.csv")
    assert_one_line(outcome, 4, "another calibration of the zones")


@pytest.mark.usefixtures("strangers_plugin")
def test_an_export_needs_no_torch(parts: Path, line: Path, tmp_path: Path) -> None:
    run = train(parts, tmp_path / "plates")
    exported = pipeline.export(run, "npz")
    outcome = without_torch(tmp_path, "drift", exported.path, "--data", line, *SOON, "--json")
    assert outcome.code == 0, outcome.err
    assert abs(json.loads(outcome.out)["since"]["number"] - (CHANGE + 1)) <= 2


def test_a_folder_of_days_is_in_the_order_of_its_days(adcli: Adcli, trained: Path, line: Path, tmp_path: Path) -> None:
    for number in range(1, COUNT + 1):
        day = tmp_path / "photos" / f"day {1 + (number - 1) // 20}"
        day.mkdir(parents=True, exist_ok=True)
        Image.open(line / f"img{number}.png").save(day / f"{1 + (number - 1) % 20}.png")
    found = json.loads(adcli("drift", trained, "--data", tmp_path / "photos", *SOON, "--json").out)
    assert found["order"] == "the order of their paths"
    assert re.fullmatch(r"day 2/(9|1[0-3])\.png", found["since"]["image"])


def write_views(folder: Path, seed: int, count: int = 24) -> Path:
    """Write two photographs of each of some parts, ``000a.png`` and ``000b.png``."""
    folder.mkdir()
    for i in range(2 * count):
        draw_part(seed + i)[0].save(folder / f"{i // 2:03}{'ab'[i % 2]}.png")
    return folder


@pytest.mark.thorough
def test_parts_count_once_with_their_largest_score(adcli: Adcli, tmp_path: Path) -> None:
    settings = pipeline.TrainSettings(
        model="dfm",
        data=str(write_views(tmp_path / "good", 500)),
        image_size="64",
        part=r"(\d+)[ab]",
        views=2,
        options={"backbone": "random:resnet18"},
    )
    run = pipeline.train(settings, out=tmp_path / "parts").run
    line = write_views(tmp_path / "photos", 3000)
    (line / "007b.png").unlink()
    scores = {Path(found.name).stem: found.score for found in pipeline.predict(run, [line])}
    outcome = adcli("drift", run.path, "--data", line, "--alarms", "1/10", "--json")
    found = json.loads(outcome.out)
    assert (found["unit"], found["images"], found["left_out"]) == ("part", 23, {"lack photographs": 1})
    assert found["shown_by"]
    for one in found["shown_by"]:
        name = one["image"]
        assert one["score"] == max(scores[f"{name}a"], scores[f"{name}b"])
        assert Path(one["path"]).stem in (f"{name}a", f"{name}b")
    adcli("predict", run.path, line, "--out", "checked", "--skip-unreadable")
    read = json.loads(adcli("drift", run.path, "--scores", "checked/predictions.csv", "--alarms", "1/10", "--json").out)
    assert [one["score"] for one in read["shown_by"]] == [one["score"] for one in found["shown_by"]]
    assert "parts      23 in the order" in adcli("drift", run.path, "--data", line).out
    assert_one_line(
        adcli("drift", run.path, "--scores", "checked/parts.csv"), 4, "no rows of images", "predictions.csv"
    )
    for kept in range(24):
        (line / f"{kept:03}a.png").unlink()
    words = "no part is left to look at: left out 23 that lack photographs"
    assert_one_line(adcli("drift", run.path, "--data", line), 4, words)
