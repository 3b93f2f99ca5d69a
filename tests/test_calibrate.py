"""Thresholds after the training: from new images, by a value, back again; of runs, and of exports without torch."""

import hashlib
import json
import random
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from scipy.stats import beta
from support import Adcli, assert_one_line, draw_part
from test_export import train, without_torch

from adcli import RunError, pipeline
from adcli.data.splitting import content_digest
from adcli.exports.agreement import disagreement
from adcli.exports.export import Export
from adcli.exports.writing import new_folder
from adcli.progress import Silent
from adcli.runs.run import Run

pytestmark = pytest.mark.usefixtures("strangers_plugin")


@pytest.fixture(scope="module")
def finished(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an export in it; read only."""
    run = train(parts, tmp_path_factory.mktemp("runs") / "plates")
    pipeline.export(run, "npz")
    return run.path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Run:
    """A copy of it, to be calibrated."""
    return Run.open(Path(shutil.copytree(finished, tmp_path / "run")))


@pytest.fixture(params=["run", "export"])
def subject(request: pytest.FixtureRequest, run: Run) -> Run | Export:
    """The run, or its export."""
    return run if request.param == "run" else Export.open(run.path / "exports/npz")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight good images that no model has seen."""
    return draw_good(tmp_path_factory.mktemp("good"), range(500, 508))


def draw_good(folder: Path, seeds: range) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        draw_part(seed)[0].save(folder / f"{seed}.png")
    return folder


def states(root: Path) -> dict[str, bytes]:
    """Return the content of every file of a run or an export."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def thresholds(subject: Run | Export) -> list[float | None]:
    return [kept.calibration.image_threshold for kept in pipeline.calibrations(subject)]


# --- how sure it is


def test_every_command_states_the_bound_beside_the_mean(adcli: Adcli, subject: Run | Export, good: Path) -> None:
    words = "at most 1 in 5 good images is rejected on average, with 95% confidence at most 0.32 of all (from 8 "
    assert words in adcli("calibrate", subject.path, "--data", good).out
    (listed,) = json.loads(adcli("calibrate", subject.path, "--list", "--json").out)[-1:]
    bound = 1 - 0.05 ** (1 / 8)
    assert listed["false_alarms"]["on_average"] == 0.2
    assert listed["false_alarms"]["at_most"] == pytest.approx(bound)
    assert listed["false_alarms"]["confidence"] == 0.95
    assert "on average 1 in 5, with 95% confidence 0.32 of all" in adcli("calibrate", subject.path, "--list").out


def test_a_confidence_is_kept_by_later_calibrations(adcli: Adcli, subject: Run | Export, tmp_path: Path) -> None:
    root, many = subject.path, draw_good(tmp_path / "many", range(600, 630))
    out = adcli("calibrate", root, "--data", many, "--false-alarm-rate", 0.2, "--confidence", 0.9).out
    assert "with 90% confidence at most 1 in 5 (from 30" in out
    # Of the fourth, it would be 21 %.
    assert "number 3 from the top of 30" in out
    out = adcli("calibrate", root, "--false-alarm-rate", 0.02).out
    assert "1 in 50 with 90% confidence would need 114" in out
    out = adcli("calibrate", root, "--false-alarm-rate", 0.2, "--confidence", 0).out
    assert "number 6 from the top" in out
    adcli("calibrate", root, "--undo")
    assert type(subject).open(root).calibration.confidence == 0.9
    outcome = adcli("calibrate", root, "--threshold", 3, "--confidence", 0.9)
    assert_one_line(outcome, 2, "--threshold 3", "--confidence 0.9")


def test_the_note_on_images_chosen_by_their_score_is_one_line(adcli: Adcli, run: Run, good: Path) -> None:
    lines = adcli("calibrate", run.path, "--data", good).err.splitlines()
    assert sum("chosen by their score" in line for line in lines) == 1
    assert "chosen by" not in adcli("calibrate", run.path, "--false-alarm-rate", 0.3).err


# --- audits


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Twelve good and four defective parts, as if drawn at random."""
    folder = tmp_path / "drawn"
    draw_good(folder / "good", range(700, 712))
    (folder / "hole").mkdir()
    for seed in range(800, 804):
        draw_part(seed, defect=True)[0].save(folder / "hole" / f"{seed}.png")
    return folder


def test_an_audit_calibrates_with_the_good_parts_and_bounds_the_defective_ones(
    adcli: Adcli, subject: Run | Export, drawn: Path
) -> None:
    before = subject.calibration
    found = json.loads(adcli("calibrate", subject.path, "--audit", drawn, "--json").out)
    assert found["images"] == 12
    old, new = found["audits"]
    assert (old["threshold"], old["estimated"]) == (before.image_threshold, False)
    assert (new["threshold"], new["estimated"]) == (found["threshold"], True)
    scores = {
        item.path: item.score
        for item in pipeline.predict(type(subject).open(subject.path), sorted(drawn.glob("*/*.png")))
    }
    bad = [score for path, score in scores.items() if path.parent.name == "hole"]
    assert (old["good"], old["defective"]) == (12, 4)
    assert old["missed"] == sum(score <= before.image_threshold for score in bad)
    assert old["alarms"] == sum(score > before.image_threshold for score in scores.values()) - 4 + old["missed"]
    assert old["at_most"] == pytest.approx(beta.ppf(0.95, old["missed"] + 1, old["accepted"] - old["missed"]))
    listed = adcli("calibrate", subject.path, "--list").out.splitlines()[-1]
    assert f"of {old['accepted']} accepted by {before.image_threshold:.6g}, at most {old['at_most']:.2%}" in listed


def test_the_page_shows_the_audit(adcli: Adcli, run: Run, drawn: Path) -> None:
    said = next(line for line in adcli("calibrate", run.path, "--audit", drawn).out.splitlines() if "audit " in line)
    adcli("report", run.path)
    assert said.removeprefix("audit").strip() in (run.path / "report.html").read_text()


def test_parts_that_calibrated_before_make_an_audit_an_estimate(adcli: Adcli, run: Run, drawn: Path) -> None:
    adcli("calibrate", run.path, "--audit", drawn)
    out = adcli("calibrate", run.path, "--audit", drawn).out
    assert out.count("Of the ") == out.count("an estimate") == 1


def test_a_threshold_by_f1_may_depend_on_the_parts_of_an_audit(adcli: Adcli, run: Run, drawn: Path) -> None:
    outcome = adcli("calibrate", run.path, "--threshold", "f1", "--validation", drawn)
    assert outcome.code == 0, outcome.err
    found = json.loads(adcli("calibrate", run.path, "--audit", drawn, "--json").out)
    assert [audit["estimated"] for audit in found["audits"]] == [True, True]


def test_a_value_is_audited_exactly(adcli: Adcli, run: Run, drawn: Path) -> None:
    found = json.loads(adcli("calibrate", run.path, "--audit", drawn, "--threshold", 1e9, "--json").out)
    (audit,) = found["audits"]
    assert (audit["missed"], audit["accepted"], audit["estimated"]) == (4, 16, False)
    rejected = json.loads(adcli("calibrate", run.path, "--audit", drawn, "--threshold", -1e9, "--json").out)
    assert rejected["audits"][0]["at_most"] == 1
    assert "rejects all 16 parts" in adcli("calibrate", run.path, "--audit", drawn, "--threshold", -1e9).out


def test_a_run_is_exported_with_the_images_of_its_audit(adcli: Adcli, run: Run, drawn: Path, tmp_path: Path) -> None:
    adcli("calibrate", run.path, "--audit", drawn)
    adcli("export", run.path, "--to", "npz", "--out", tmp_path / "out")
    assert Export.open(tmp_path / "out").calibration.n == 12


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--audit", "DRAWN", "--data", "DRAWN"), 2, "each gives the images"),
        (("--audit", "DRAWN", "--threshold", "f1", "--validation", "DRAWN"), 2, "an audit is of a threshold"),
        (("--audit", "DRAWN", "--list"), 2, "stands alone"),
        (("--audit", "DRAWN/table.csv"), 4, "table.csv"),
        (("--audit", "nowhere/"), 4, "nowhere"),
    ],
)
def test_audits_that_cannot_be_are_one_line_and_change_nothing(
    adcli: Adcli, run: Run, drawn: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    before = states(run.path)
    given = [word.replace("DRAWN", str(drawn)) for word in arguments]
    assert_one_line(adcli("calibrate", run.path, *given), code, words)
    assert states(run.path) == before


def test_an_audit_of_parts_counts_parts_and_one_bad_photograph_makes_one_defective(
    adcli: Adcli, run: Run, tmp_path: Path
) -> None:
    good, parts = ("--part", r"(\d+)_"), draw_good(tmp_path / "calibrating", range(700, 712))
    for i, path in enumerate(sorted(parts.iterdir())):
        path.rename(path.with_name(f"{i // 2}_{i % 2}.png"))
    assert "from 6 good parts" in adcli("calibrate", run.path, "--data", parts, *good, "--views", 2).out
    drawn = draw_good(tmp_path / "drawn/good", range(720, 733))
    for i, path in enumerate(sorted(drawn.iterdir())):
        path.rename(path.with_name(f"{10 + i // 2}_{i % 2}.png"))
    (drawn.parent / "hole").mkdir()
    (drawn / "10_0.png").unlink()
    draw_part(800, defect=True)[0].save(drawn.parent / "hole/10_0.png")
    outcome = adcli("calibrate", run.path, "--audit", drawn.parent, "--json")
    audit = json.loads(outcome.out)["audits"][0]
    # Part 16 lacks a view, which is no pass.
    assert (audit["good"], audit["defective"]) == (5, 1)
    assert json.loads(outcome.out)["images"] == 5
    assert "left out 1 other images" in outcome.err
    other = adcli("calibrate", run.path, "--audit", drawn.parent, "--part", r"_(\d)")
    assert_one_line(other, 2, "tells parts in another way")


def test_parts_without_a_label_and_defects_alone_are_no_audit(adcli: Adcli, run: Run, drawn: Path) -> None:
    paths, table = sorted(drawn.glob("*/*.png")), drawn / "drawn.csv"
    for labels, words in ((["good"] * 12 + [""] * 4, "4 of 16 images have no label"), (["bad"] * 16, "no good images")):
        rows = [f"{path},{label}" for path, label in zip(paths, labels, strict=True)]
        table.write_text("\n".join(["image,label", *rows]))
        assert_one_line(adcli("calibrate", run.path, "--audit", f"table:{table}"), 4, words)


# --- which images calibrate


@pytest.mark.parametrize("entrance", ["calibrate", "calibrate an export", "export"])
def test_images_that_the_model_was_fitted_to_are_left_out_by_content(
    adcli: Adcli, run: Run, parts: Path, good: Path, tmp_path: Path, entrance: str
) -> None:
    mixed = Path(shutil.copytree(good, tmp_path / "mixed"))
    held_out = set(run.calibration.digests)
    for i, path in enumerate(sorted((parts / "train/good").iterdir())):
        shutil.copyfile(path, mixed / f"{i}-under-another-name.png")
    shutil.copyfile(good / "500.png", mixed / "again.png")
    command = {
        "calibrate": ("calibrate", run.path),
        "calibrate an export": ("calibrate", run.path / "exports/npz"),
        "export": ("export", run.path, "--to", "npz", "--out", tmp_path / "x"),
    }[entrance]
    outcome = adcli(*command, "--data", mixed)
    assert outcome.code == 0, outcome.err
    assert "left out 19 of 33 images: the model is fitted to them" in outcome.err
    assert "left out 1 of 33 images: copies" in outcome.err
    opened = pipeline.find({"export": tmp_path / "x"}.get(entrance, Path(command[1])))
    assert opened.calibration.n == 8 + len(held_out)
    shutil.rmtree(tmp_path / "x", ignore_errors=True)
    for path in mixed.iterdir():
        if path.stem.isdigit() or path.stem == "again" or content_digest(path) in held_out:
            path.unlink()
    before = states(run.path)
    assert_one_line(adcli(*command, "--data", mixed), 4, str(mixed), "fitted to all 19 images", "give good images")
    assert states(run.path) == before
    assert not (tmp_path / "x").exists()


def test_all_good_images_of_a_folder_with_defects_calibrate_and_the_defects_are_said_to_be_left_out(
    adcli: Adcli, subject: Run | Export, tmp_path: Path
) -> None:
    draw_good(tmp_path / "week/good", range(600, 630))
    (tmp_path / "week/scratch").mkdir()
    for seed in range(7):
        draw_part(seed, defect=True)[0].save(tmp_path / f"week/scratch/{seed}.png")
    outcome = adcli("calibrate", subject.path, "--data", tmp_path / "week", "--json")
    assert json.loads(outcome.out)["images"] == 30
    assert "left out 7 defective images" in outcome.err
    kept = pipeline.calibrations(subject)[-1]
    assert (kept.data, kept.left_out) == (str(tmp_path / "week"), {"defects": 7})
    assert set(kept.calibration.images) == {f"{seed}.png" for seed in range(600, 630)}


def test_test_images_that_set_a_threshold_are_said_and_remembered(adcli: Adcli, run: Run, parts: Path) -> None:
    said = "6 of 6 images that set the threshold are the run's test images: its evaluation no longer says"
    calls = [
        (("--data", parts / "test/good"), said, 6),
        (("--false-alarm-rate", 0.3), said, 6),
        (("--threshold", 2.5), "", 0),
        (("--restore", 2), said, 6),
        (("--threshold", "f1", "--validation", parts / "test"), "12 images that set the threshold", 12),
        (("--restore", 1), "", 0),
    ]
    for arguments, warning, count in calls:
        outcome = adcli("calibrate", run.path, *arguments)
        assert outcome.code == 0, outcome.err
        assert ("test images" in outcome.err) == bool(warning)
        assert warning in outcome.err.replace("\n", " ")
        kept = pipeline.calibrations(run)[-1]
        assert kept.tested == count
        assert warning in kept.doubt()
        pipeline.report(Run.open(run.path))
        assert ("no longer says what new" in (run.path / "report.html").read_text()) == bool(warning)
    export = run.path / "exports/npz"
    assert "test images" not in adcli("calibrate", export, "--data", parts / "test/good").err


def test_an_export_says_that_test_images_set_its_threshold(adcli: Adcli, run: Run, parts: Path, good: Path) -> None:
    for data, count in ((good, 0), (parts / "test/good", 6)):
        outcome = adcli("export", run.path, "--to", "npz", "--data", data, "--out", "line3", "--force")
        assert outcome.code == 0, outcome.err
        said = "6 of 6 images that set the threshold are the run's test images"
        assert (said in outcome.err.replace("\n", " ")) == bool(count)
        (kept,) = pipeline.calibrations(Export.open(Path("line3")))
        assert kept.tested == count
        assert kept.command == f"adcli export run --to npz --data {data.name} --out line3"


# --- what is said of the image that sets the threshold


def test_the_image_that_sets_the_threshold_is_named_and_shown(
    adcli: Adcli, subject: Run | Export, good: Path, tmp_path: Path
) -> None:
    far = draw_good(tmp_path / "far", range(700, 720))
    draw_part(1, defect=True)[0].save(far / "odd.png")
    outcome = adcli("calibrate", subject.path, "--data", far, "--false-alarm-rate", 0.01)
    assert outcome.code == 0, outcome.err
    assert "The image that sets the threshold is odd.png" in outcome.out
    assert "It lies far from the others" in outcome.out
    rate = float(outcome.out.split("--false-alarm-rate ")[1].split()[0].rstrip("."))
    assert "calibrations/0002.jpg" in outcome.out
    with Image.open(subject.path / "calibrations/0002.jpg") as picture:
        assert picture.format == "JPEG"
        assert max(picture.size) <= 720
    assert "odd.png" not in adcli("calibrate", subject.path, "--false-alarm-rate", rate).out


@pytest.mark.parametrize("how", ["0.3", "FOLDER", "3-fold"])
def test_a_training_shows_the_image_that_sets_its_threshold(parts: Path, good: Path, tmp_path: Path, how: str) -> None:
    run = train(parts, tmp_path / "run", calibration=str(good) if how == "FOLDER" else how)
    calibration = run.calibration
    assert len(calibration.images) == len(set(calibration.digests)) == calibration.n
    assert calibration.threshold_image in calibration.explain()[0]
    with Image.open(run.path / "calibrations/0001.jpg") as picture:
        assert max(picture.size) <= 720
    (kept,) = pipeline.calibrations(run)
    assert kept.calibration == calibration
    assert (kept.replaced, kept.restores, kept.data) == (None, None, str(good if how == "FOLDER" else parts))
    folder = good if how == "FOLDER" else parts / "train/good"
    for name, known in zip(calibration.images, calibration.digests, strict=True):
        assert content_digest(folder / name) == known


def test_folds_name_and_show_the_training_images_least_like_the_others(
    adcli: Adcli, good: Path, tmp_path: Path
) -> None:
    folder = draw_good(tmp_path / "data/train/good", range(900, 912))
    Image.new("RGB", (64, 64), (255, 0, 255)).save(folder / "odd.png")
    data, root = tmp_path / "data", tmp_path / "run"
    out = adcli("train", "-m", "mean_image", "--data", data, "--calibration", "3-fold", "--out", root).out
    (line,) = [line for line in out.splitlines() if line.startswith("unlike")]
    run = Run.open(root)
    scores = dict(zip(run.calibration.images, run.calibration.image_scores, strict=True))
    top = sorted(scores, key=scores.__getitem__)[:-4:-1]
    assert top[0] == "odd.png"
    assert all(f"{name} ({scores[name]:.6g})" in line for name in top)
    assert "half of which score at most" in line
    adcli("calibrate", root, "--data", good)
    adcli("report", root)
    shown = (root / "report.html").read_text().partition("Training images least like the others")[2]
    # They are those of the training, whatever set the threshold since.
    assert re.findall(r'alt="(.*?), and its heat map"', shown.partition("</section>")[0]) == top
    for place in (1, 2, 3):
        with Image.open(root / f"calibrations/0001-{place}.jpg") as picture:
            assert max(picture.size) <= 720
    adcli("runs", "rm", root, "--yes")
    assert not root.exists()


def test_without_folds_or_with_few_images_none_is_said_to_be_unlike(parts: Path, tmp_path: Path) -> None:
    assert not train(parts, tmp_path / "held", calibration="0.4").calibration.unlike
    draw_good(tmp_path / "few/train/good", range(9))
    assert not train(tmp_path / "few", tmp_path / "folds", calibration="3-fold").calibration.say_unlike()


def test_verdicts_on_identical_renderings_do_not_depend_on_the_batch_size(adcli: Adcli, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    (tmp_path / "same").mkdir()
    for i in range(10):
        # Other bytes, the same pixels.
        text = PngImagePlugin.PngInfo()
        text.add_text("number", str(i))
        Image.fromarray(pixels).save(tmp_path / f"same/{i}.png", pnginfo=text)
    model = ("-m", "padim", "--backbone", "embedded", "--image-size", 64, "--data", tmp_path / "same")
    for trained_with in (1, 16):
        out = tmp_path / f"run-{trained_with}"
        outcome = adcli("train", *model, "--batch-size", trained_with, "--out", out)
        assert outcome.code == 0, outcome.err
        for batch_size in (1, 3, 16):
            rows = json.loads(adcli("predict", out, tmp_path / "same", "--batch-size", batch_size, "--json").out)
            assert {row["verdict"] for row in rows} == {"good"}
            assert {row["p_value"] for row in rows} == {1.0}


# --- nothing is lost


def test_every_calibration_is_kept_and_can_be_gone_back_to(adcli: Adcli, subject: Run | Export, good: Path) -> None:
    root = subject.path
    first = subject.calibration
    steps = [("--data", good), ("--false-alarm-rate", 0.5), ("--threshold", 2.5), ("--undo",), ("--undo",), ("--undo",)]
    for step in steps:
        outcome = adcli("calibrate", root, *step)
        assert outcome.code == 0, outcome.err
    found = thresholds(subject)
    assert found[0] == found[6] == first.image_threshold
    assert found[1] == found[5]
    assert found[2] == found[4]
    assert found[3] == 2.5
    now = pipeline.find(root)
    assert now.calibration == pipeline.calibrations(now)[-1].calibration
    assert now.calibration.digest == first.digest
    assert [kept.number for kept in pipeline.calibrations(now)] == list(range(1, 8))
    assert [kept.replaced for kept in pipeline.calibrations(now)] == [None, 1, 2, 3, 4, 5, 6]
    assert [kept.restores for kept in pipeline.calibrations(now)] == [None] * 4 + [3, 2, 1]
    assert_one_line(adcli("calibrate", root, "--undo"), 5, "the first calibration is in force")
    listed = json.loads(adcli("calibrate", root, "--list", "--json").out)
    assert [one["number"] for one in listed if one["in_force"]] == [7]
    table = adcli("calibrate", root, "--list").out.splitlines()
    assert len(table) == 8
    assert table[-1].startswith("7 *")


def test_each_calibration_can_be_brought_back_by_its_number(adcli: Adcli, subject: Run | Export, good: Path) -> None:
    root = subject.path
    for step in (("--data", good), ("--false-alarm-rate", 0.5), ("--undo",), ("--undo",), ("--threshold", 2.5)):
        assert adcli("calibrate", root, *step).code == 0
    for number in (3, 1, 2, 6):
        outcome = adcli("calibrate", root, "--restore", number)
        assert outcome.code == 0, outcome.err
        kept = pipeline.calibrations(subject)
        assert kept[-1].calibration.digest == kept[number - 1].calibration.digest
        assert kept[-1].restores == number
        assert pipeline.find(root).calibration == kept[-1].calibration
    before = states(root)
    assert_one_line(adcli("calibrate", root, "--restore", 6), 5, "calibration 6 is in force already")
    assert_one_line(adcli("calibrate", root, "--restore", 10), 5, "in force already")
    for number in (0, -1, 11):
        assert_one_line(adcli("calibrate", root, "--restore", number), 5, f"no calibration {number}", "--list")
    assert states(root) == before


@pytest.mark.parametrize("seed", range(4))
def test_undo_takes_back_the_last_step_that_is_not_taken_back_yet(run: Run, seed: int) -> None:
    """A random walk, beside a stack: whatever sets a threshold is put on it, and an undo takes the top off."""
    draw = random.Random(seed)
    stack, history = [run.calibration.digest], [run.calibration.digest]
    for _ in range(30):
        step = draw.choice(["calibrate", "undo", "undo", "restore"])
        number = draw.randint(1, len(history))
        if step == "undo" and len(stack) == 1:
            with pytest.raises(RunError, match="the first calibration is in force"):
                pipeline.restore_calibration(run)
            continue
        if step == "undo":
            run = pipeline.restore_calibration(run)
            stack.pop()
        elif step == "calibrate" or history[number - 1] == stack[-1]:
            run = pipeline.recalibrate(run, threshold=draw.random())
            stack.append(run.calibration.digest)
        else:
            run = pipeline.restore_calibration(run, number)
            stack.append(history[number - 1])
        assert run.calibration.digest == stack[-1]
        history.append(stack[-1])
    assert [kept.calibration.digest for kept in pipeline.calibrations(run)] == history


def test_a_history_that_does_not_tell_undo_from_restore_is_read_as_before(run: Run) -> None:
    for threshold in (1.0, 2.0):
        run = pipeline.recalibrate(run, threshold=threshold)
    run = pipeline.restore_calibration(run)
    path = run.path / "calibrations/0004.json"
    content = json.loads(path.read_text())
    del content["undoes"], content["digest"]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**content, "digest": digest}))
    assert pipeline.restore_calibration(run).calibration.digest == pipeline.calibrations(run)[0].calibration.digest


def test_the_way_back_that_is_printed_leads_back(adcli: Adcli, run: Run) -> None:
    root = run.path
    steps = (("--false-alarm-rate", 0.5), ("--threshold", 2.5), ("--undo",), ("--undo",), ("--restore", 3))
    for step in steps:
        before = Run.open(root).calibration.digest
        outcome = adcli("calibrate", root, *step)
        (line,) = [line for line in outcome.out.splitlines() if line.startswith("go back")]
        command = shlex.split(line.removeprefix("go back"))
        kept = states(root)
        assert adcli(*command[1:]).code == 0
        assert Run.open(root).calibration.digest == before
        shutil.rmtree(root)
        for name, content in kept.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
    shutil.rmtree(root / "calibrations")
    assert "go back" not in adcli("calibrate", root, "--threshold", 1).out


def test_a_threshold_below_every_good_image_is_warned_of(adcli: Adcli, subject: Run | Export) -> None:
    lowest = subject.calibration.image_scores[0]
    said = f"all {subject.calibration.n} good images lie above it"
    assert said in adcli("calibrate", subject.path, "--threshold", lowest - 1).out
    assert said not in adcli("calibrate", subject.path, "--threshold", lowest).out


def test_a_run_logs_each_calibration_in_one_line(adcli: Adcli, run: Run) -> None:
    before = (run.path / "log.txt").read_text()
    adcli("calibrate", run.path, "--false-alarm-rate", 0.5)
    pipeline.restore_calibration(Run.open(run.path), command="a command\nof two lines")
    added = (run.path / "log.txt").read_text().removeprefix(before).splitlines()
    assert len(added) == 2
    assert "calibration 2, in the place of 1" in added[0]
    assert "a command of two lines" in added[1]
    times = [line.split()[0] for line in (before + "\n".join(added)).splitlines() if not line.startswith(" ")]
    assert times == sorted(times)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time in times)


def test_scores_outlive_a_given_threshold(adcli: Adcli, subject: Run | Export) -> None:
    before = subject.calibration
    assert adcli("calibrate", subject.path, "--threshold", 2.5).code == 0
    given = pipeline.find(subject.path).calibration
    assert (given.image_scores, given.images, given.digests) == (before.image_scores, before.images, before.digests)
    assert given.image_threshold == 2.5
    assert adcli("calibrate", subject.path, "--false-alarm-rate", before.rate).code == 0
    assert pipeline.find(subject.path).calibration == replace(before, number=3)


def test_f1_takes_the_good_images_that_calibrate_as_its_good_side(
    adcli: Adcli, subject: Run | Export, parts: Path, tmp_path: Path
) -> None:
    shutil.copytree(parts / "test/scratch", tmp_path / "defects/scratch")
    (tmp_path / "defects/scratch/raw.heic").write_bytes(b"x")
    outcome = adcli("calibrate", subject.path, "--threshold", "f1", "--validation", tmp_path / "defects")
    assert outcome.code == 0, outcome.err
    assert "left out: 1 .heic file, which is no format that is read (" in outcome.err
    now = pipeline.find(subject.path)
    calibration = now.calibration
    assert (calibration.method, calibration.n) == ("f1", subject.calibration.n)
    defects = [prediction.score for prediction in pipeline.predict(now, tmp_path / "defects/scratch")]
    assert max(calibration.image_scores) < calibration.image_threshold < min(defects)
    shutil.copytree(parts / "test/good", tmp_path / "only good/good")
    outcome = adcli("calibrate", subject.path, "--threshold", "f1", "--validation", tmp_path / "only good")
    assert_one_line(outcome, 4, "no defective images")
    assert_one_line(adcli("calibrate", subject.path, "--threshold", "f1"), 2, "--validation")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--list", "--undo"),
        ("--undo", "--threshold", "1"),
        ("--list", "--data", "x"),
        ("--validation", "x"),
        ("--threshold", "3", "--false-alarm-rate", "0.2"),
        ("--threshold", "f1", "--validation", "x", "--false-alarm-rate", "0.2"),
        (),
    ],
)
def test_requests_that_say_two_things_or_none_are_one_line(adcli: Adcli, run: Run, arguments: tuple[str, ...]) -> None:
    before = states(run.path)
    assert_one_line(adcli("calibrate", run.path, *arguments), 2)
    assert states(run.path) == before


# --- what is damaged


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


REPAIRS: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "undo": lambda _: ("--undo",),
    "rate": lambda _: ("--false-alarm-rate", 0.2),
    "data": lambda good: ("--data", good),
}


@pytest.mark.parametrize("how", REPAIRS)
def test_a_damaged_calibration_can_be_replaced(adcli: Adcli, subject: Run | Export, good: Path, how: str) -> None:
    damage(subject.path / "calibration.json")
    code = 5 if isinstance(subject, Run) else 10
    assert_one_line(adcli("predict", subject.path, good), code, "calibration.json", "--undo")
    outcome = adcli("calibrate", subject.path, *REPAIRS[how](good))
    assert outcome.code == 0, outcome.err
    now = pipeline.find(subject.path).calibration
    assert (now.n, now.number) == (8 if how == "data" else subject.calibration.n, 2)
    assert adcli("predict", subject.path, good).code == 0


def test_the_calibration_of_another_run_is_refused(adcli: Adcli, run: Run, parts: Path, tmp_path: Path) -> None:
    other = train(parts, tmp_path / "other", seed=9)
    shutil.copyfile(other.path / "calibration.json", run.path / "calibration.json")
    assert_one_line(adcli("predict", run.path, parts / "test"), 5, "calibration.json", "another model", "--undo")
    shutil.copyfile(other.path / "calibrations/0001.json", run.path / "calibrations/0001.json")
    assert_one_line(adcli("calibrate", run.path, "--undo"), 5, "another model")
    assert adcli("calibrate", run.path, "--data", parts / "test/good").code == 0
    assert Run.open(run.path).calibration.n == 6


def test_the_calibration_of_a_run_with_equal_weights_is_refused_unless_the_run_had_it(
    adcli: Adcli, run: Run, good: Path, tmp_path: Path
) -> None:
    twin = Run.open(Path(shutil.copytree(run.path, tmp_path / "twin")))
    adcli("calibrate", run.path, "--false-alarm-rate", 0.5)
    for arguments in (("--threshold", 2.5), ("--undo",), ("--data", good)):
        assert adcli("calibrate", twin.path, *arguments).code == 0
    for number, known in ((1, True), (2, False), (3, True), (4, False)):
        content = pipeline.calibrations(twin)[number - 1].calibration.to_json()
        (run.path / "calibration.json").write_text(content)
        outcome = adcli("predict", run.path, good)
        if known:
            assert outcome.code == 0, outcome.err
        else:
            assert_one_line(outcome, 5, "calibration.json", "that of another run", "--undo")
    assert adcli("calibrate", run.path, "--undo").code == 0
    assert Run.open(run.path).calibration.rate == 0.5


def ruin(root: Path, how: str, parts: Path) -> None:
    """Make a calibration useless."""
    path = root / "calibration.json"
    if how == "missing":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "no text":
        path.write_bytes(b"\xff\xfe")
    elif how == "damaged":
        damage(path)
    else:
        path.write_text(train(parts, root.parent / "other", seed=9).calibration.to_json())


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("how", ["missing", "folder", "no text", "damaged", "foreign"])
def test_commands_that_repair_a_calibration_work_where_they_are_pasted(
    adcli: Adcli, run: Run, parts: Path, good: Path, tmp_path: Path, how: str, kept: bool
) -> None:
    root = run.path.rename(tmp_path / "a run")
    ruin(root, how, parts)
    if not kept:
        shutil.rmtree(root / "calibrations")
    outcome = adcli("predict", root, good)
    path = str(root / "calibration.json")
    assert_one_line(outcome, 5, path, "adcli calibrate ", "--data DIR")
    assert outcome.err.count(path) == 1
    assert "Errno" not in outcome.err
    assert ("--undo" in outcome.err) == kept
    if how == "folder":
        return
    another = shlex.split(outcome.err.split("from good images: ")[1])
    back = shlex.split(outcome.err.split("bring it back: ")[1].split(";")[0]) if kept else []
    for command in filter(None, (back, another)):
        assert command[0] == "adcli"
        assert adcli(*(good if word == "DIR" else word for word in command[1:])).code == 0
        assert adcli("predict", root, good).code == 0


def test_a_damaged_history_stops_nothing_but_going_back_to_it(adcli: Adcli, subject: Run | Export, good: Path) -> None:
    adcli("calibrate", subject.path, "--false-alarm-rate", 0.5)
    damage(subject.path / "calibrations/0001.json")
    assert_one_line(adcli("calibrate", subject.path, "--undo"), 5, "0001.json")
    assert adcli("calibrate", subject.path, "--data", good).code == 0
    shutil.rmtree(subject.path / "calibrations")
    assert adcli("calibrate", subject.path, "--threshold", 1).code == 0
    assert pipeline.find(subject.path).calibration.number == 4
    assert_one_line(adcli("calibrate", subject.path, "--undo"), 5, "0003.json", "missing")
    assert adcli("predict", subject.path, good).code == 0


def test_two_commands_do_not_calibrate_one_run_at_once(adcli: Adcli, run: Run, good: Path, tmp_path: Path) -> None:
    twice = Path(shutil.copytree(good, tmp_path / "twice"))
    shutil.copyfile(good / "500.png", twice / "again.png")
    outcomes = []

    class Meanwhile(Silent):
        """Begins another calibration while the first one notes that it leaves out a copy."""

        def note(self, text: str) -> None:
            if "left out" in text:
                outcomes.append(adcli("calibrate", run.path, "--threshold", 1))

    pipeline.recalibrate(run, str(twice), progress=Meanwhile())
    (outcome,) = outcomes
    assert_one_line(outcome, 5, "calibration.json", "is at work on it")
    assert len(thresholds(run)) == 2


# --- exports


def test_an_export_is_not_calibrated_while_another_takes_its_place(adcli: Adcli, run: Run) -> None:
    export = run.path / "exports/npz"
    with new_folder(export, run=run.path, replace=True) as folder:
        assert_one_line(adcli("calibrate", export, "--threshold", 1), 5, "exports/npz", "is at work on it")
        shutil.copytree(export, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".adcli*"))
    assert adcli("calibrate", export, "--threshold", 1).code == 0


@pytest.mark.thorough
def test_an_export_is_calibrated_without_torch_and_sealed_anew(finished: Path, tmp_path: Path, good: Path) -> None:
    export = Export.open(Path(shutil.copytree(finished / "exports/npz", tmp_path / "line")))
    for arguments in (("--data", good), ("--false-alarm-rate", 0.4), ("--threshold", 3), ("--undo",), ("--list",)):
        outcome = without_torch(tmp_path, "calibrate", export.path, *arguments)
        assert outcome.code == 0, outcome.err
    now = Export.open(export.path)
    assert (now.calibration.n, now.calibration.rate, now.calibration.number) == (8, 0.4, 5)
    assert now.manifest["thresholds"]["image"] == now.calibration.image_threshold
    assert now.manifest["calibration"]["rate"] == 0.4
    unchanged = ("graph", "measured", "run", "plugin", "options")
    assert [now.manifest[name] for name in unchanged] == [export.manifest[name] for name in unchanged]
    assert without_torch(tmp_path, "predict", export.path, good).code == 0


def test_an_export_says_that_its_run_was_calibrated_since(adcli: Adcli, run: Run, good: Path) -> None:
    export = run.path / "exports/npz"
    said = "was calibrated since"
    assert said not in adcli("predict", export, good).err
    adcli("calibrate", run.path, "--threshold", 2.5)
    outcome = adcli("predict", export, good)
    assert outcome.err.count(said) == 1
    assert "2.5" in outcome.err
    adcli("calibrate", export, "--threshold", 2.5)
    assert said not in adcli("predict", export, good).err
    adcli("calibrate", run.path, "--undo")
    assert said in adcli("predict", export, good).err
    assert adcli("export", run.path, "--to", "npz", "--force").code == 0
    assert said not in adcli("predict", export, good).err


def test_an_export_is_replaced_only_by_force_and_only_if_it_is_one(adcli: Adcli, run: Run, tmp_path: Path) -> None:
    before = states(run.path / "exports/npz")
    assert_one_line(adcli("export", run.path, "--to", "npz"), 9, "exists already", "--force")
    assert states(run.path / "exports/npz") == before
    assert adcli("export", run.path, "--to", "npz", "-o", "precision=fp16", "--force").code == 0
    assert Export.open(run.path / "exports/npz").manifest["options"]["precision"] == "fp16"
    before = states(run.path / "exports/npz")
    assert adcli("export", run.path, "--to", "npz", "-o", "error=0.5", "--force").code == 10
    assert states(run.path / "exports/npz") == before
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/photo.png").write_text("mine")
    outcome = adcli("export", run.path, "--to", "npz", "--out", tmp_path / "precious", "--force")
    assert_one_line(outcome, 10, "precious", "no export that could be replaced")
    assert (tmp_path / "precious/photo.png").read_text() == "mine"


@pytest.mark.parametrize(
    "changes", [("value",), ("f1",), ("data",), ("data", "value"), ("value", "rate"), ("data", "undo")]
)
def test_a_run_is_exported_with_the_calibration_that_it_has_by_now(
    run: Run, parts: Path, good: Path, tmp_path: Path, changes: tuple[str, ...]
) -> None:
    shutil.copytree(parts / "test/scratch", tmp_path / "defects/scratch")
    requests = {
        "value": {"threshold": 2.5},
        "f1": {"threshold": "f1", "validation": tmp_path / "defects"},
        "data": {"data": str(good)},
        "rate": {"rate": 0.5},
    }
    for change in changes:
        run = pipeline.restore_calibration(run) if change == "undo" else pipeline.recalibrate(run, **requests[change])
    export = pipeline.export(run, "npz", out=tmp_path / "export")
    assert (export.calibration.method, export.calibration.n) == (run.calibration.method, run.calibration.n)
    assert export.calibration.image_threshold == pytest.approx(run.calibration.image_threshold, rel=1e-3)
    assert set(export.calibration.digests) == set(run.calibration.digests)


def test_without_the_images_that_calibrated_a_run_its_export_says_which_are_needed(
    adcli: Adcli, run: Run, good: Path, tmp_path: Path
) -> None:
    week = Path(shutil.copytree(good, tmp_path / "week"))
    assert adcli("calibrate", run.path, "--data", week).code == 0
    (week / "501.png").unlink()
    outcome = adcli("export", run.path, "--to", "npz", "--out", "x")
    assert_one_line(outcome, 4, str(week), "8 images", "1 of its 8", "--data DIR")
    assert adcli("export", run.path, "--to", "npz", "--out", "x", "--data", week).code == 0


@pytest.mark.parametrize("by", [1.0001, 1.04, 3, 1000])
def test_a_refusal_shows_by_how_much_and_names_the_option(by: float) -> None:
    judged = {"tolerance": 0.001, "images": 10, "score_difference": 0.001 * by}
    words = disagreement(judged)
    assert "-o tolerance=0.001" in words
    assert float(words.split("by up to ")[1].split()[0]) > 0.001
    drop = {"run": 0.9, "export": 0.9 - 0.01 * by, "allowed_drop": 0.01}
    words = disagreement({**judged, "score_difference": 0.0, "auroc": drop})
    assert "-o auroc_drop=0.01" in words
    assert float(words.split(", by ")[1].split(",")[0]) > 0.01
    assert "-o tolerance=" in disagreement({**judged, "score_difference": 0.0, "map_difference": 0.02})
    unequal = {"unequal": 2, "equal": 8, "near_threshold": 0}
    assert "-o tolerance=" in disagreement({**judged, "score_difference": 0.0, "verdicts": unequal})
    assert disagreement({**judged, "score_difference": 0.001}) == ""


def test_a_folder_without_images_is_not_asked_for_images_to_train_on(adcli: Adcli, run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = adcli("calibrate", run.path, "--data", "empty")
    assert_one_line(outcome, 4, "empty", "no good images")
    assert "train on" not in outcome.err
