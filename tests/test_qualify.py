"""``adcli qualify``: what is in the record, of runs and exports; every error in one line, and nothing written."""

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import Adcli, assert_one_line, draw_part
from test_export import train
from test_parts import GIVEN, RULE
from test_parts import write as write_views

from adcli import pipeline
from adcli.data.splitting import content_digest

pytestmark = pytest.mark.usefixtures("strangers_plugin")

QUICK = ("--sizes", "4,20", "--contrasts", "100", "--draws", "72")


@pytest.fixture(scope="module")
def finished(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an export in it; read only."""
    run = train(parts, tmp_path_factory.mktemp("runs") / "plates")
    pipeline.export(run, "npz")
    return run.path


def read_record(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="record">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found
    record: dict[str, Any] = json.loads(found[1])
    return record


def test_a_run_is_qualified_with_photographs_that_it_was_not_fitted_to(
    adcli: Adcli, finished: Path, parts: Path, tmp_path: Path
) -> None:
    outcome = adcli("qualify", finished, *QUICK, "--out", "made/record.html", "--json")
    assert outcome.code == 0, outcome.err
    printed = json.loads(outcome.out)
    assert printed.pop("page") == "made/record.html"
    page = tmp_path / "made/record.html"
    assert read_record(page) == printed

    fitted = {image.digest for image in pipeline_images(finished) if image.role == "fitted"}
    used = dict(printed["data"]["images"])
    assert used
    assert not fitted & set(used.values())
    held_out = {image.digest for image in pipeline_images(finished) if image.role == "held-out"}
    tested = {content_digest(path) for path in (parts / "test/good").iterdir()}
    assert set(used.values()) == held_out | tested

    assert printed["calibration"]["threshold"] == pipeline.load(finished).calibration.image_threshold
    assert [(one["kind"], one["contrast"]) for one in printed["detections"]] == [
        (kind, 100.0) for kind in ("scratch", "spot", "stain", "piece", "blur")
    ]
    assert all({count["size"] for count in one["first"]} == {4, 20} for one in printed["detections"])
    (real,) = printed["real_defects"]
    assert (real["kind"], real["of"], {one["size"] for one in real["defects"]}) == ("scratch", 6, {14})
    assert printed["repeats"] is None


def pipeline_images(run: Path) -> Any:
    from adcli.runs.images import read_images

    return read_images(run)


def test_the_page_says_how_to_do_it_again_and_needs_no_network(adcli: Adcli, finished: Path, tmp_path: Path) -> None:
    assert adcli("qualify", finished, *QUICK, "--seed", 3, "--out", "a.html").code == 0
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    words = html.unescape(re.sub(r"<[^>]+>", " ", page))
    record = read_record(tmp_path / "a.html")
    for word in (
        "drawn, not real",
        record["weights"],
        record["calibration"]["digest"],
        record["data"]["fingerprint"],
        record["versions"]["adcli"],
        record["time"][:10],
        "MISSED drawn",
        "FOUND drawn",
    ):
        assert word in re.sub(r"\s+", " ", words)
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]*"', page)


def test_the_same_seed_gives_the_same_record(adcli: Adcli, finished: Path, tmp_path: Path) -> None:
    records = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        assert adcli("qualify", finished, *QUICK, "--seed", seed, "--out", f"{name}.html").code == 0
        records.append(re.sub(rf"20\d\d-[0-9T: -]+Z?|{name}\.html", "", (tmp_path / f"{name}.html").read_text()))
    assert records[0] == records[1]
    assert records[0] != records[2]


def test_an_export_takes_the_photographs_of_its_run_and_one_alone_needs_data(
    adcli: Adcli, finished: Path, others: Path, tmp_path: Path
) -> None:
    outcome = adcli("qualify", finished / "exports/npz", *QUICK, "--out", "a.html", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["opened"] == "export"
    alone = Path(shutil.copytree(finished / "exports/npz", tmp_path / "alone"))
    assert_one_line(adcli("qualify", alone, *QUICK, "--out", "b.html"), 5, "alone", "--data DIR")
    outcome = adcli("qualify", alone, *QUICK, "--out", "b.html", "--data", others, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["data"]["of"] == 30


def test_photographs_that_are_rejected_without_a_defect_are_not_used(
    adcli: Adcli, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "good").mkdir()
    for seed in range(800, 806):
        draw_part(seed, defect=seed == 803)[0].save(tmp_path / f"good/{seed}.png")
    outcome = adcli("qualify", finished, *QUICK, "--data", "good", "--out", "a.html", "--json")
    assert outcome.code == 0, outcome.err
    data = json.loads(outcome.out)["data"]
    assert "803.png" in data["rejected_without_defect"]
    assert data["photographs"] + len(data["rejected_without_defect"]) == 6
    shutil.rmtree(tmp_path / "good")
    (tmp_path / "good").mkdir()
    draw_part(803, defect=True)[0].save(tmp_path / "good/803.png")
    outcome = adcli("qualify", finished, *QUICK, "--data", "good", "--out", "b.html")
    assert_one_line(outcome, 4, "none of 1 good photographs passes")
    assert not (tmp_path / "b.html").exists()


def test_fitted_photographs_are_refused(adcli: Adcli, finished: Path, parts: Path, tmp_path: Path) -> None:
    from adcli.runs.images import read_images

    fitted = {image.digest for image in read_images(finished) if image.role == "fitted"}
    (tmp_path / "seen").mkdir()
    for path in (parts / "train/good").iterdir():
        if content_digest(path) in fitted:
            shutil.copy(path, tmp_path / "seen")
    assert_one_line(adcli("qualify", finished, *QUICK, "--data", "seen", "--out", "a.html"), 4, "--data seen", "fitted")


def write_repeats(folder: Path, *, table: bool) -> str:
    rows = ["image,part"]
    for part in range(4):
        for shot in range(3):
            path = folder / (f"{part}-{shot}.png" if table else f"{part}/{shot}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            # The last part has a defect that one photograph does not show.
            draw_part(900 + 10 * part + shot, defect=part == 3 and shot > 0)[0].save(path)
            rows.append(f"{path.name},part {part}")
    if table:
        (folder / "repeats.csv").write_text("\n".join(rows) + "\n")
        return str(folder / "repeats.csv")
    return str(folder)


@pytest.mark.parametrize("table", [False, True])
def test_verdicts_of_parts_that_were_photographed_several_times_are_compared(
    adcli: Adcli, finished: Path, tmp_path: Path, table: bool
) -> None:
    reference = write_repeats(tmp_path / "again", table=table)
    outcome = adcli("qualify", finished, *QUICK, "--repeat", reference, "--out", "a.html", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)["repeats"]
    threshold = pipeline.load(finished).calibration.image_threshold
    verdicts = {part: [score > threshold for score in scores] for part, scores in found["scores"].items()}
    assert len(verdicts) == found["parts"] == 4
    assert all(len(of_part) == 3 for of_part in verdicts.values())
    assert found["agreeing_parts"] == sum(len(set(of_part)) == 1 for of_part in verdicts.values()) < 4
    assert found["pairs"] == 12
    # Parts whose verdicts differ come first.
    agrees = [len(set(of_part)) == 1 for of_part in verdicts.values()]
    assert agrees == sorted(agrees)


WRONG = (
    (("--sizes", "2"), 2, ("--sizes", "from 3")),
    (("--sizes", "a"), 2, ("--sizes", "commas")),
    (("--sizes", "5,5"), 2, ("--sizes", "different")),
    (("--contrasts", "0"), 2, ("--contrasts", "255")),
    (("--contrasts", "nan"), 2, ("--contrasts", "255")),
    (("--draws", "71"), 2, ("--draws", "72")),
    (("--out", "a.txt"), 2, ("--out", ".html")),
    (("--data", "missing"), 4, ("--data missing",)),
    (("--repeat", "missing"), 4, ("--repeat missing", "no such folder")),
    (("--repeat", "there"), 4, ("--repeat there", "no part with several")),
    (("--repeat", "there/no-part.csv"), 4, ("no-part.csv", "column 'part'")),
    (("--repeat", "there/empty.csv"), 4, ("empty.csv", "line 3", "names no part")),
)


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_errors_are_one_line_and_nothing_is_written(
    adcli: Adcli, finished: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    (tmp_path / "there/one").mkdir(parents=True)
    for name in ("one/a.png", "b.png"):
        draw_part(1)[0].save(tmp_path / "there" / name)
    (tmp_path / "there/no-part.csv").write_text("image\nb.png\n")
    (tmp_path / "there/empty.csv").write_text("image,part\nb.png,1\none/a.png,\n")
    before = sorted(tmp_path.rglob("*"))
    given = {"--out": "a.html", **{arguments[0]: arguments[1]}}
    outcome = adcli("qualify", finished, *(word for pair in given.items() for word in pair))
    assert_one_line(outcome, code, *words)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_record_is_never_written_over(adcli: Adcli, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<meta name="generator" content="adcli qualify 1">')
    assert_one_line(adcli("qualify", finished, "--out", "a.html"), 9, "a.html", "there already")


def test_a_run_without_a_threshold_finds_nothing(adcli: Adcli, parts: Path, tmp_path: Path) -> None:
    options = {"backbone": "random:resnet18", "layers": "2,3"}
    settings = pipeline.TrainSettings(
        model="patchcore", data=str(parts), image_size="64", options=options, calibration="none"
    )
    run = pipeline.train(settings, out=tmp_path / "run").run
    assert_one_line(adcli("qualify", run.path, "--out", "a.html"), 5, "no threshold", "adcli calibrate")


def test_the_record_has_a_name_of_its_own(adcli: Adcli, finished: Path, tmp_path: Path) -> None:
    for number in range(2):
        outcome = adcli("qualify", finished, "--sizes", "20", "--contrasts", "100", "--draws", "72")
        assert outcome.code == 0, outcome.err
        assert len(list(tmp_path.glob("qualify-plates-20??-??-??*.html"))) == number + 1
    assert "look at    qualify-plates-" in outcome.out
    assert "defects in" in outcome.out


ZONES = ("--region", "a=0,0,40,64", "--region", "b=24,0,40,64")


@pytest.mark.thorough
@pytest.mark.parametrize("framing", [("--tiles", "2x2"), ZONES], ids=["tiles", "zones"])
def test_tiles_and_zones_are_qualified_as_they_are_looked_at(
    adcli: Adcli, parts: Path, tmp_path: Path, framing: tuple[str, ...]
) -> None:
    options = ("-m", "patchcore", "-o", "backbone=random:resnet18", "-o", "layers=2,3", "--image-size", "32")
    trained = adcli("train", *options, "--data", parts, *framing, "--out", "run")
    assert trained.code == 0, trained.err
    outcome = adcli("qualify", "run", *QUICK, "--out", "a.html", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["data"]["drawn_defects"] > 0


@pytest.mark.thorough
def test_photographs_of_parts_that_are_fitted_are_not_held_out(adcli: Adcli, tmp_path: Path) -> None:
    for part in range(12):
        write_views(tmp_path / "data", part)
    given = [*GIVEN, "--part", RULE, "--views", 3, "--data", "data", "--out", "run"]
    assert adcli("train", *given).code == 0
    for where in ((), ("--data", "data")):
        outcome = adcli("qualify", "run", *QUICK, *where, "--out", f"{len(where)}.html", "--json")
        assert outcome.code == 0, outcome.err
        used = {name.partition("_")[0] for name, _ in json.loads(outcome.out)["data"]["images"]}
        fitted = {image.name.partition("_")[0] for image in pipeline_images(Path("run")) if image.role == "fitted"}
        assert used
        assert fitted
        assert not used & fitted
