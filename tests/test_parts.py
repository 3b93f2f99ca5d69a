"""Parts of several photographs, from end to end: the part is the unit."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import Adcli, assert_one_line

from adcli import pipeline
from adcli.scoring.calibration import Calibration

RULE = r"(\d+)_"


def shot(part: int, view: str, *, defect: bool = False) -> Image.Image:
    """Draw a view of a part, whose brightness all of its views share."""
    random = np.random.default_rng([part, ord(view)])
    tone = np.random.default_rng([part, 7]).normal(0, 10)
    pixels = 120 + tone + random.normal(0, 4, (64, 64)) + 20 * np.sin(np.arange(64) / (3 + ord(view) % 3))
    if defect:
        pixels[24:36, 24:36] += 90
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write(folder: Path, part: int, views: str = "abc", *, defect: str = "") -> None:
    for view in views:
        place = folder / ("spot" if view == defect else "good")
        place.mkdir(parents=True, exist_ok=True)
        shot(part, view, defect=view == defect).save(place / f"{part:03}_{view}.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 good parts and 6 whose defect shows in one of three views; read only."""
    root = tmp_path_factory.mktemp("parts") / "data"
    for part in range(20):
        write(root, part)
    for part in range(100, 106):
        write(root, part, defect="abc"[part % 3])
    return root


GIVEN = ["-m", "dfm", "--backbone", "embedded", "--image-size", 64, "--false-alarm-rate", 0.2, "--calibration", 0.4]


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained with parts of three views; read only."""
    settings = pipeline.TrainSettings(
        model="dfm",
        data=str(data),
        options={"backbone": "embedded"},
        image_size="64",
        false_alarm_rate=0.2,
        calibration="0.4",
        part=RULE,
        views=3,
    )
    return pipeline.train(settings, out=tmp_path_factory.mktemp("runs") / "run").run.path


def test_a_part_is_in_one_place_and_everything_counts_parts(run: Path, data: Path) -> None:
    with (run / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    roles: dict[str, set[str]] = {}
    for row in rows:
        roles.setdefault(Path(row["name"]).name[:3], set()).add(row["role"])
    assert len(roles) == 26
    assert all(len(found) == 1 for found in roles.values())
    calibrating = sum(found == {"held-out"} for found in roles.values())
    opened = pipeline.load(run)
    assert opened.calibration.n == calibrating
    assert len(opened.calibration.scored_digests) == 3 * calibrating
    assert "good parts is rejected" in opened.calibration.promise()
    metrics = json.loads((run / "metrics.json").read_text())
    tested = sum(found == {"test"} for found in roles.values())
    assert metrics["unit"] == "part"
    assert metrics["image"]["n_good"] + metrics["image"]["n_defect"] == tested
    # Good views of a part that has a defect are no good parts.
    assert metrics["image"]["n_defect"] == 6


def test_the_threshold_is_of_the_largest_scores_of_parts(run: Path, data: Path) -> None:
    opened = pipeline.load(run)
    with (run / "images.csv").open(newline="") as file:
        names = [Path(row["name"]).name for row in csv.DictReader(file) if row["role"] == "held-out"]
    largest: dict[str, float] = {}
    for said in pipeline.predict(opened, [data / "good" / name for name in names]):
        largest[said.part] = max(said.score, largest.get(said.part, said.score))
    assert opened.calibration.image_scores == pytest.approx(sorted(largest.values()), rel=1e-5)


def test_calibration_of_parts_reads_as_it_was_written(run: Path) -> None:
    text = (run / "calibration.json").read_text()
    read = Calibration.from_json(text, source=run / "calibration.json")
    assert read.to_json() == text
    assert read.parts is not None
    assert (read.parts.pattern, read.parts.views) == (RULE, 3)


def test_prediction_gives_one_verdict_a_part_beside_the_rows_of_its_photographs(
    adcli: Adcli, run: Path, data: Path, tmp_path: Path
) -> None:
    images = [*sorted((data / "good").glob("00[01]_*")), *sorted(data.glob("*/100_*"))]
    outcome = adcli("predict", run, *images, "--out", "said", "--format", "jsonl")
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    photographs, parts = [row for row in rows if row["image"]], [row for row in rows if not row["image"]]
    assert [row["part"] for row in photographs] == ["000"] * 3 + ["001"] * 3 + ["100"] * 3
    assert [row["part"] for row in parts] == ["000", "001", "100"]
    for part in parts:
        assert part["score"] == max(row["score"] for row in photographs if row["part"] == part["part"])
    assert parts[2]["verdict"] == "defect"
    with (tmp_path / "said" / "parts.csv").open(newline="") as file:
        assert [row["part"] for row in csv.DictReader(file)] == ["000", "001", "100"]
    with (tmp_path / "said" / "predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 9


def test_what_was_printed_of_photographs_and_parts_is_a_table_of_photographs(
    adcli: Adcli, run: Path, data: Path, tmp_path: Path
) -> None:
    outcome = adcli("predict", run, *sorted((data / "good").glob("00[0-6]_*")), "--format", "csv")
    (tmp_path / "said.csv").write_text(outcome.out)
    outcome = adcli("datasets", "check", "table:said.csv")
    assert "21 good images to train on" in outcome.out
    assert "parts: 7 training" in outcome.out


def test_a_part_without_all_of_its_views_is_no_pass(adcli: Adcli, run: Path, data: Path) -> None:
    images = sorted((data / "good").glob("000_[ab]*"))
    assert_one_line(adcli("predict", run, *images), 4, "part 000: 2 of 3 photographs")
    assert_one_line(adcli("predict", run, *images, "--fail-on-defect", "--skip-unreadable"), 4, "2 of 3")
    assert adcli("predict", run, *images, "--skip-unreadable").code == 0
    assert adcli("predict", run, *images, "--views", 2).code == 0


def test_a_part_is_complete_with_so_many_different_photographs_and_no_more(
    adcli: Adcli, run: Path, data: Path, tmp_path: Path
) -> None:
    two = [data / "good" / "000_a.png", data / "good" / "000_b.png"]
    assert_one_line(adcli("predict", run, *two, two[0]), 4, "part 000: 2 of 3 photographs")
    adcli("predict", run, *two, "--out", "said")
    assert_one_line(adcli("predict", run, two[0], "--out", "said", "--append"), 4, "part 000: 2 of 3 photographs")
    # Numbers that begin again each day: what the second part has is not what the first one lacks.
    for day, views in {"monday": "a", "tuesday": "abc"}.items():
        (tmp_path / day).mkdir()
        for view in views:
            shot(0, view).save(tmp_path / day / f"7_{view}.png")
    outcome = adcli("predict", run, "monday", "tuesday")
    assert_one_line(outcome, 4, "part 7: 4 of 3 photographs; perhaps several parts have this name")
    outcome = adcli("predict", run, "monday", "tuesday", "--part", r"\w+day/\d+")
    assert_one_line(outcome, 4, "1 of 2 parts incomplete", "part monday/7: 1 of 3")


def test_a_photograph_that_is_read_at_last_completes_its_part(
    adcli: Adcli, run: Path, data: Path, tmp_path: Path
) -> None:
    for view in "abc":
        (tmp_path / f"000_{view}.png").write_bytes((data / "good" / f"000_{view}.png").read_bytes())
    (tmp_path / "000_c.png").write_bytes(b"half of it")
    images = sorted(tmp_path.glob("000_*"))
    assert_one_line(adcli("predict", run, *images, "--out", "said"), 4, "000_c.png")
    (tmp_path / "000_c.png").write_bytes((data / "good" / "000_c.png").read_bytes())
    outcome = adcli("predict", run, images[-1], "--out", "said", "--append")
    assert outcome.code == 0, outcome.err


def test_parts_of_more_photographs_than_there_are_views_are_refused(
    adcli: Adcli, run: Path, data: Path, tmp_path: Path
) -> None:
    for kind, part in (("good", 30), ("spot", 31)):
        (tmp_path / "again" / "test" / kind).mkdir(parents=True)
        for view in "abc":
            shot(part, view, defect=kind == "spot").save(tmp_path / "again" / "test" / kind / f"900_{view}.png")
    write(tmp_path / "again" / "train", 32)
    words = "--views 3: part '900' has 6 photographs"
    assert_one_line(adcli("evaluate", run, "--data", "again"), 4, words, "--part name the folder too")
    assert_one_line(adcli("calibrate", run, "--audit", "again"), 4, words)
    assert_one_line(adcli("train", *GIVEN, "--data", "again", "--part", RULE, "--views", 3), 4, words)
    outcome = adcli("evaluate", run, "--data", "again", "--views", 6)
    assert outcome.code == 0, outcome.err
    write(tmp_path / "more", 33, "abcd")
    assert_one_line(adcli("calibrate", run, "--data", "more/good"), 4, "--views 3: part '033' has 4 photographs")


def test_parts_of_which_a_photograph_is_a_copy_leave_none_to_calibrate(adcli: Adcli, run: Path, tmp_path: Path) -> None:
    write(tmp_path / "copied", 34)
    (tmp_path / "copied/good/034_c.png").write_bytes((tmp_path / "copied/good/034_b.png").read_bytes())
    assert_one_line(adcli("calibrate", run, "--data", "copied/good"), 4, "no part is left")
    # Each part shares a photograph with another, so that none that is held out is new.
    for part in range(12):
        write(tmp_path / "shared", part, "ab")
        shot(part // 2, "c").save(tmp_path / "shared" / "good" / f"{part:03}_c.png")
    outcome = adcli("train", *GIVEN[:-1], 0.1, "--data", "shared", "--part", RULE, "--views", 3, "--out", "none")
    assert_one_line(outcome, 4, "--calibration 0.1: no part is left", "--calibration none")
    assert not (tmp_path / "none").exists()


def test_photographs_that_come_later_complete_a_part(adcli: Adcli, run: Path, data: Path, tmp_path: Path) -> None:
    adcli("predict", run, *sorted((data / "good").glob("000_[ab]*")), "--out", "said", "--skip-unreadable")
    outcome = adcli("predict", run, data / "good" / "000_c.png", "--out", "said", "--append")
    assert outcome.code == 0, outcome.err
    with (tmp_path / "said" / "parts.csv").open(newline="") as file:
        assert [(row["part"], row["verdict"]) for row in csv.DictReader(file)] == [("000", "good")]


@pytest.mark.thorough
def test_calibrating_an_export_counts_parts_and_leaves_out_those_that_are_known(
    adcli: Adcli, run: Path, data: Path, tmp_path: Path
) -> None:
    fresh = tmp_path / "fresh"
    for part in range(200, 208):
        write(fresh, part, "ab" if part == 207 else "abc")
    outcome = adcli("export", run, "--to", "onnx", "--out", "exported")
    assert outcome.code == 0, outcome.err
    outcome = adcli("calibrate", "exported", "--data", fresh / "good")
    assert outcome.code == 0, outcome.err
    assert "1 of 8 parts have fewer photographs" in outcome.err
    calibration = pipeline.find("exported").calibration
    assert calibration.n == 7
    assert calibration.parts is not None
    outcome = adcli("predict", "exported", *sorted((data / "good").glob("000_*")), "--json")
    assert [row["part"] for row in json.loads(outcome.out)] == ["000"] * 4


def test_a_threshold_of_images_is_none_of_parts_until_it_is_set_so(adcli: Adcli, data: Path, tmp_path: Path) -> None:
    outcome = adcli("train", *GIVEN, "--data", data, "--out", "single")
    assert outcome.code == 0, outcome.err
    assert_one_line(adcli("predict", "single", data, "--part", RULE), 2, "--part", "single images", "adcli calibrate")
    assert_one_line(adcli("calibrate", "single", "--part", RULE), 2, "--part needs --data")
    for part in range(200, 206):
        write(tmp_path / "fresh", part)
    outcome = adcli("calibrate", "single", "--data", "fresh/good", "--part", RULE, "--views", 3)
    assert outcome.code == 0, outcome.err
    assert pipeline.load("single").calibration.n == 6
    outcome = adcli("evaluate", "single", "--data", data)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("part ")


def test_a_table_names_parts_in_a_column(adcli: Adcli, data: Path, tmp_path: Path) -> None:
    lines = [
        f"{image},{'good' if image.parent.name == 'good' else 'defect'},part {image.name[:3]}"
        for image in sorted(data.glob("*/*.png"))
    ]
    (tmp_path / "parts.csv").write_text("\n".join(["image,label,part", *lines]) + "\n")
    outcome = adcli("train", *GIVEN, "--data", "table:parts.csv", "--views", 3, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "columns ignored" not in outcome.err
    opened = pipeline.load("run")
    assert opened.calibration.parts is not None
    assert {row["part"][:5] for row in csv.DictReader((tmp_path / "run/scores.csv").open(newline=""))} == {"part "}
    outcome = adcli("predict", "run", *sorted((data / "good").glob("000_*")), "--part", RULE, "--json")
    assert [row["part"] for row in json.loads(outcome.out)] == ["000"] * 4


@pytest.mark.thorough
def test_folds_hold_the_views_of_a_part_together(adcli: Adcli, data: Path) -> None:
    outcome = adcli("train", *GIVEN[:-1], "4-fold", "--data", data, "--part", RULE, "--out", "run")
    assert outcome.code == 0, outcome.err
    calibration = pipeline.load("run").calibration
    assert 12 <= calibration.n <= 20
    assert "parts in folds" in calibration.promise()


def test_runs_are_compared_by_parts(adcli: Adcli, run: Path, data: Path) -> None:
    outcome = adcli("compare", run, run, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["n_defect"] == 6
    adcli("train", *GIVEN, "--data", data, "--out", "single")
    assert_one_line(adcli("compare", run, "single"), 5, "run was evaluated on parts, and single on images")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--part", "("], ["--part must be a regular expression"]),
        (["--part", "view(\\d)"], ["--part view(\\d): finds no part in the names of"]),
        (["--views", "3"], ["--views 3: the images name no parts"]),
        (["--part", RULE, "--views", "4"], ["--views 4: none of the"]),
    ],
)
def test_what_is_wrong_with_parts_is_one_line(
    adcli: Adcli, data: Path, options: list[str], words: list[str], tmp_path: Path
) -> None:
    outcome = adcli("train", *GIVEN, "--data", data, *options, "--out", "run")
    assert outcome.code in (2, 4)
    assert_one_line(outcome, outcome.code, *words)
    assert not (tmp_path / "run").exists()


def name_in_table(data: Path, table: Path) -> Path:
    """Write a table of the images, which names their parts."""
    lines = [
        f"{image},{'good' if image.parent.name == 'good' else 'defect'},{image.name[:3]}"
        for image in sorted(data.glob("*/*.png"))
    ]
    table.write_text("\n".join(["image,label,part", *lines]) + "\n")
    return table


def test_a_folder_beside_the_data_has_parts_too_and_none_of_the_same(adcli: Adcli, data: Path, tmp_path: Path) -> None:
    table = name_in_table(data, tmp_path / "parts.csv")
    for part in range(200, 206):
        write(tmp_path / "fresh", part)
    given = [*GIVEN[:-1], "fresh/good", "--data", f"table:{table}"]
    assert_one_line(adcli("train", *given), 2, "--calibration fresh/good: its images name no parts", "--part")
    outcome = adcli("train", *given, "--part", RULE, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert pipeline.load("run").calibration.n == 6
    write(tmp_path / "fresh", 0, "d")
    assert_one_line(adcli("train", *given, "--part", RULE), 4, "part '000' is in the training", "--calibration fresh")
    shot(9, "a").save(tmp_path / "fresh" / "good" / "none.png")
    assert_one_line(adcli("train", *given, "--part", RULE), 4, "--part", "no part in the names of 1 of 20 images")
    given = [*GIVEN, "--data", data, "--part", RULE, "--threshold", "f1", "--validation", data]
    assert_one_line(adcli("train", *given), 4, "is in the", "--validation")


def test_photographs_whose_names_tell_no_part_are_judged_with_a_warning(
    adcli: Adcli, data: Path, tmp_path: Path
) -> None:
    table = name_in_table(data, tmp_path / "parts.csv")
    outcome = adcli("train", *GIVEN, "--data", f"table:{table}", "--out", "run")
    assert outcome.code == 0, outcome.err
    images = sorted((data / "good").glob("000_*"))
    words = "warning: the threshold is of parts, and these images name none"
    assert words in adcli("predict", "run", *images).err
    assert words not in adcli("predict", "run", *images, "--part", RULE).err


@pytest.mark.thorough
def test_an_export_counts_the_parts_of_the_audit_that_calibrated_its_run(
    adcli: Adcli, data: Path, tmp_path: Path
) -> None:
    lines = ["image,label,split,part"]
    for number in range(12):
        write(tmp_path / "drawn", 300 + number)
        split = "train" if number < 6 else "test"
        lines += [f"drawn/good/{300 + number}_{view}.png,good,{split},{300 + number}" for view in "abc"]
    (tmp_path / "drawn.csv").write_text("\n".join(lines) + "\n")
    table = name_in_table(data, tmp_path / "parts.csv")
    outcome = adcli("train", *GIVEN, "--data", f"table:{table}", "--out", "run")
    assert outcome.code == 0, outcome.err
    outcome = adcli("calibrate", "run", "--audit", "table:drawn.csv")
    assert outcome.code == 0, outcome.err
    assert pipeline.load("run").calibration.n == 12
    outcome = adcli("export", "run", "--to", "onnx", "--out", "exported")
    assert outcome.code == 0, outcome.err
    assert pipeline.find("exported").calibration.n == 12


def test_zones_have_thresholds_of_parts(adcli: Adcli, tmp_path: Path) -> None:
    for part in (*range(20), *range(100, 103)):
        for view in "ab":
            wide = Image.new("L", (128, 64))
            wide.paste(shot(part, view), (0, 0))
            wide.paste(shot(part + 50, view, defect=part >= 100), (64, 0))
            folder = tmp_path / "wide" / ("good" if part < 100 else "spot")
            folder.mkdir(parents=True, exist_ok=True)
            wide.save(folder / f"{part:03}_{view}.png")
    zones = ["--region", "left=0,0,64,64", "--region", "right=64,0,64,64"]
    outcome = adcli("train", *GIVEN, *zones, "--data", "wide", "--part", RULE, "--views", 2, "--out", "run")
    assert outcome.code == 0, outcome.err
    calibration = pipeline.load("run").calibration
    assert {len(zone.image_scores) for zone in calibration.zones.values()} == {calibration.n}
    assert len(calibration.scored_digests) == 2 * calibration.n
    outcome = adcli("predict", "run", *sorted((tmp_path / "wide" / "spot").glob("100_*")), "--format", "jsonl")
    *_, part = (json.loads(line) for line in outcome.out.splitlines())
    assert (part["part"], part["verdict"], part["zone"]) == ("100", "defect", "right")


def test_the_page_counts_parts_and_shows_photographs(run: Path) -> None:
    page, metrics = (run / "report.html").read_text(), json.loads((run / "metrics.json").read_text())
    known = json.loads(page.split('id="known"', 1)[1].split(">", 1)[1].split("</script>", 1)[0])
    counts = {label: known["parts"]["labels"].count(label) for label in "dg"}
    assert counts == {"d": metrics["image"]["n_defect"], "g": metrics["image"]["n_good"]}
    called = sum(score > known["threshold"] for score in known["parts"]["scores"])
    assert called == metrics["image"]["true_positives"] + metrics["image"]["false_positives"]
    assert len(known["scores"]) == 3 * sum(counts.values())
    for words in ("Ranking of parts", "share of good parts rejected", ">parts</th>"):
        assert words in page
    assert "share of good images rejected" not in page
