"""Whatever a user gets wrong gives one clear line, a distinct exit code, and leaves nothing behind."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support import Adcli, assert_one_line, draw_part

BACKBONE = ("--backbone", "random:resnet18", "--image-size", "64")
QUICK = (*BACKBONE, "-o", "layers=2,3")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--model", "patchcor"], 2, ["patchcor", "Did you mean 'patchcore'?"]),
        (["--model", "patchcore", "-o", "corset=0.1"], 2, ["corset", "coreset"]),
        (["--model", "patchcore", "-o", "coreset=2"], 2, ["coreset", "at most 1"]),
        (["--model", "patchcore", "-o", "coreset=lots"], 2, ["coreset", "number"]),
        (["--model", "patchcore", "-o", "coreset"], 2, ["KEY=VALUE"]),
        (["--model", "patchcore", "--data", "demoo"], 4, ["demoo", "Did you mean 'demo'?"]),
        (["--model", "patchcore", "--data", "./nowhere"], 4, ["nowhere"]),
        (["--model", "patchcore", "--backbone", "tim:resnet18"], 7, ["tim:resnet18", "timm:"]),
        (["--model", "patchcore", "--backbone", "timm:resnet81"], 7, ["resnet81", "resnet18"]),
        (["--model", "patchcore", "--backbone", "timm:resnet18.tv_in1k"], 7, ["resnet18", "weights="]),
        (["--model", "patchcore", "--backbone", "torchvision:resnet18"], 7, ["resnet18", "weights="]),
        (["--model", "patchcore", "-o", "weights=no.safetensors"], 7, ["no.safetensors"]),
        (["--model", "patchcore", "--device", "tpu"], 2, ["--device tpu"]),
        (
            ["--model", "patchcore", "--precision", "fp8"],
            2,
            ["--precision must be auto, fp32, bf16 or fp16, not 'fp8'."],
        ),
        (["--model", "patchcore", "--precision", "fp16"], 2, ["fp16"]),
        (["--model", "patchcore", "--batch-size", "0"], 2, ["--batch-size must be at least 1, not 0."]),
        (
            ["--model", "patchcore", "--false-alarm-rate", "1.5"],
            2,
            ["--false-alarm-rate must be less than 1, not 1.5."],
        ),
        (["--model", "patchcore", "--image-size", "7"], 2, ["--image-size"]),
        (["--model", "patchcore", "--threshold", "f1"], 4, ["--validation"]),
        (["--model", "reverse_distillation", "--calibration", "5-fold"], 2, ["5-fold", "reverse_distillation"]),
        (["--config", "nothing.yaml"], 2, ["nothing.yaml"]),
        (["--resume", "nothing"], 5, ["nothing"]),
        ([], 2, ["--model"]),
    ],
)
def test_a_wrong_name_or_value_is_one_line(
    adcli: Adcli, parts: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    if "--data" not in arguments and "--model" in arguments:
        arguments = [*arguments, "--data", str(parts)]
    if not {"--backbone", "weights=no.safetensors"} & set(arguments) and "--model" in arguments:
        arguments = [*arguments, "--backbone", "random:resnet18"]
    assert_one_line(adcli("train", *arguments), code, *words)
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


@pytest.mark.parametrize(
    "command", [["predict", "nothing", "x.png"], ["evaluate", "nothing"], ["runs", "show", "last"]]
)
def test_a_run_that_does_not_exist_is_one_line(adcli: Adcli, command: list[str]) -> None:
    assert_one_line(adcli(*command), 5)


@pytest.mark.parametrize(
    "text",
    [
        yaml.safe_dump({"format": 3, "core": "0.1.0", "exporter": "onnx", "plugin": {}, "model": "padim", "run": {}}),
        json.dumps({"number": 1, "method": "held-out", "rate": 0.01, "image_scores": []}),
        json.dumps({"region": None, "crop": None, "fit": "squash", "grey": 128, "task": 1, "a": 1, "b": 2}),
    ],
    ids=["a manifest", "a calibration", "mostly something else"],
)
def test_a_config_of_another_kind_is_told_to_be_one(adcli: Adcli, parts: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "other.yaml").write_text(text)
    outcome = adcli("train", "--config", tmp_path / "other.yaml", "--data", parts)
    assert_one_line(outcome, 2, "--config", "other.yaml: is no file of settings (it has ", "give a run.yaml")
    assert "Did you mean" not in outcome.err


def test_a_slip_of_the_hand_in_a_config_is_mended_by_its_hint(adcli: Adcli, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("modle: padim\nsede: 1\n")
    assert_one_line(adcli("train", "--config", tmp_path / "own.yaml", "--data", parts), 2, "modle", "'model'")


def test_an_empty_folder_and_one_without_good_images_are_named(adcli: Adcli, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_one_line(adcli("train", "--model", "patchcore", "--data", tmp_path / "empty", *QUICK), 4, "empty")
    (tmp_path / "bad").mkdir()
    shutil.copytree(parts / "test/scratch", tmp_path / "bad/test/scratch")
    assert_one_line(adcli("train", "--model", "patchcore", "--data", tmp_path / "bad", *QUICK), 4, "bad", "good")


@pytest.fixture
def spoiled(parts: Path, tmp_path: Path) -> Path:
    """The data set with a text file named .png and a truncated JPEG among the good images."""
    shutil.copytree(parts, tmp_path / "spoiled")
    (tmp_path / "spoiled/train/good/zz_text.png").write_text("this is no image")
    draw_part(1)[0].save(tmp_path / "whole.jpg", quality=95)
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "spoiled/train/good/zz_cut.jpg").write_bytes(content[: len(content) // 2])
    return tmp_path / "spoiled"


@pytest.mark.parametrize("model", ["patchcore", "reverse_distillation"])
def test_an_unreadable_image_is_named_or_skipped(adcli: Adcli, spoiled: Path, model: str) -> None:
    more = ("-o", "layers=1,2,3", "-o", "epochs=1") if model == "reverse_distillation" else ("-o", "layers=2,3")
    arguments = ("train", "--model", model, "--data", spoiled, *BACKBONE, *more)
    assert_one_line(adcli(*arguments), 4, "zz_", "--skip-unreadable")
    assert not list(Path("runs").rglob("*")) if Path("runs").exists() else True
    outcome = adcli(*arguments, "--skip-unreadable", "--json")
    assert outcome.code == 0, outcome.err
    assert "zz_text.png" in outcome.err
    assert "zz_cut.jpg" in outcome.err
    assert "--skip-unreadable" not in outcome.err
    record = yaml.safe_load((Path(json.loads(outcome.out)["run"]) / "run.yaml").read_text())["record"]
    assert record["data"]["skipped"] == 2


def test_unusual_images_work(adcli: Adcli, parts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(parts / "train/good", folder)
    part = draw_part(7)[0]
    Image.fromarray(np.asarray(part.convert("L")).astype(np.uint16) * 257).save(folder / "sixteen.png")
    part.convert("P").save(folder / "palette.png")
    part.convert("RGBA").save(folder / "alpha.png")
    part.convert("CMYK").save(folder / "cmyk.jpg")
    turned = part.getexif()
    turned[0x0112] = 6
    part.save(folder / "turned.jpg", exif=turned)
    outcome = adcli("train", "--model", "patchcore", "--data", folder, *QUICK, "--json")
    assert outcome.code == 0, outcome.err
    rows = json.loads(adcli("predict", "last", folder, "--json").out)
    usual = [row["score"] for row in rows if Path(row["image"]).stem.isdigit()]
    for row in rows:
        assert row["score"] < 3 * max(usual), row


@pytest.mark.parametrize("name", ["model.safetensors", "run.yaml", "calibration.json"])
def test_a_run_with_a_changed_byte_is_refused(adcli: Adcli, parts: Path, run: Path, name: str) -> None:
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(content)
    assert_one_line(adcli("predict", run, parts / "test/good"), 5, name)


def rewrite(run: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Write another run.yaml with a right digest."""
    from adcli._files import seal

    content = yaml.safe_load((run / "run.yaml").read_text())
    del content["digest"]
    change(content)
    (run / "run.yaml").write_text(seal(content))


def test_a_run_of_a_missing_plugin_names_it(adcli: Adcli, parts: Path, run: Path) -> None:
    def change(content: dict[str, object]) -> None:
        content["record"]["plugin"] = {"distribution": "adcli-gone", "version": "1.2.0"}  # type: ignore[index]

    rewrite(run, change)
    assert_one_line(adcli("predict", run, parts / "test/good"), 6, "adcli-gone 1.2.0")


def test_a_run_of_another_plugin_version_names_both(adcli: Adcli, parts: Path, run: Path) -> None:
    def change(content: dict[str, object]) -> None:
        content["record"]["plugin"]["version"] = "9.0.0"  # type: ignore[index]

    rewrite(run, change)
    assert_one_line(adcli("predict", run, parts / "test/good"), 6, "9.0.0", "adcli-patchcore 0.1.0")


def test_a_run_of_a_newer_core_says_to_upgrade(adcli: Adcli, parts: Path, run: Path) -> None:
    def change(content: dict[str, object]) -> None:
        content["format"] = 99

    rewrite(run, change)
    assert_one_line(adcli("predict", run, parts / "test/good"), 5, "upgrade")


def test_predicting_what_is_not_there_is_one_line(adcli: Adcli, run: Path, tmp_path: Path) -> None:
    assert_one_line(adcli("predict", run, tmp_path / "gone.png"), 4, "gone.png")
    (tmp_path / "bad.png").write_text("no image")
    assert_one_line(adcli("predict", run, tmp_path / "bad.png"), 4, "bad.png")


def test_an_existing_out_folder_is_refused_before_any_work(adcli: Adcli, spoiled: Path, run: Path) -> None:
    """Of these images some cannot be read, which a model that trains for long finds before it starts."""
    layers = ("-o", "layers=1,2,3")
    outcome = adcli("train", "--model", "reverse_distillation", "--data", spoiled, *BACKBONE, *layers, "--out", run)
    assert_one_line(outcome, 9, str(run))


def test_a_place_without_the_right_to_write_is_one_line(adcli: Adcli, parts: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    outcome = adcli("train", "--model", "patchcore", "--data", parts, *QUICK, "--out", blocked / "run")
    assert_one_line(outcome, 9, "file")


def test_no_space_is_one_line_and_leaves_no_run(adcli: Adcli, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adcli.pipeline import _train as training

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training, "save_file", full)
    outcome = adcli("train", "--model", "patchcore", "--data", parts, *QUICK, "--out", "run")
    assert_one_line(outcome, 9, "No space left")
    assert not Path("run").exists()
    assert not Path(".partial").exists()


def test_an_unknown_command_or_flag_is_refused(adcli: Adcli) -> None:
    assert_one_line(adcli("trian"), 2, "train")
    outcome = adcli("train", "--modle", "x")
    assert outcome.code == 2
    assert re.search("No such option.*--modle", outcome.err)


def test_a_failing_plugin_fit_is_one_line(adcli: Adcli, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adcli_patchcore.model import PatchCore

    def fit(self: PatchCore, batches: object) -> None:
        raise RuntimeError("a bug\nof the plugin")

    monkeypatch.setattr(PatchCore, "fit", fit)
    outcome = adcli("train", "--model", "patchcore", "--data", parts, *QUICK)
    assert_one_line(outcome, 6, "adcli-patchcore", "a bug of the plugin")


@pytest.mark.parametrize("name", ["", ".", "..", "../..", ".hidden", "a/b", "{}/victim"])
@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_an_evaluation_lies_in_its_run_whatever_its_name(
    adcli: Adcli, trained: Path, tmp_path: Path, command: str, name: str
) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/photo.txt").write_text("precious")
    assert_one_line(adcli(command, trained, "--name", name.format(tmp_path)), 2, "--name must be the plain name")
    assert (tmp_path / "victim/photo.txt").read_text() == "precious"


@pytest.mark.parametrize("out", ["file", "file/inside", "taken"])
def test_where_no_table_can_be_written_nothing_is_scored(
    adcli: Adcli, trained: Path, parts: Path, tmp_path: Path, out: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken/predictions.csv").mkdir(parents=True)
    outcome = adcli("predict", trained, parts / "test/good", "--out", tmp_path / out)
    assert_one_line(outcome, 9, "predictions.csv" if out == "taken" else "file is a file")
    assert not outcome.out


def test_empty_names_are_not_the_current_folder(adcli: Adcli, trained: Path) -> None:
    assert_one_line(adcli("predict", trained, ""), 4, "empty")
    assert_one_line(
        adcli("train", "--model", "padim", "--backbone", "random:resnet18", "--data", ""), 4, "--data is empty"
    )


def test_one_setting_is_given_in_one_way(adcli: Adcli) -> None:
    twice = ("--backbone", "embedded", "-o", "backbone=random:resnet18")
    assert_one_line(adcli("train", "--model", "padim", *twice), 2, "--backbone is the same as -o backbone")


def test_a_backbone_needs_layers(adcli: Adcli, parts: Path) -> None:
    outcome = adcli("train", "--model", "padim", "--backbone", "random:resnet18", "-o", "layers=", "--data", parts)
    assert_one_line(outcome, 2, "-o layers must name at least one layer")


def test_only_groups_have_commands_to_ask_help_for(adcli: Adcli) -> None:
    assert_one_line(adcli("help", "train", "x"), 2, "'train' has no command 'x'")
