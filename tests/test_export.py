"""From a run to a folder that scores without torch, through a stranger's exporter that knows nothing but NumPy."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support import THIRD_PARTY, Adcli, Outcome, assert_one_line, draw_part, write_parts

from adcli import pipeline
from adcli._files import file_digest, seal
from adcli.errors import AdcliError, ExportError, RunError
from adcli.exports.export import FORMAT, Export
from adcli.runs.run import Run

pytestmark = pytest.mark.usefixtures("strangers_plugin")
SETTINGS = {"model": "mean_image", "image_size": "48", "false_alarm_rate": 0.2}


@pytest.fixture(scope="module")
def run(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run; read only."""
    return train(parts, tmp_path_factory.mktemp("runs") / "plates")


@pytest.fixture(scope="module")
def exported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export; read only."""
    return pipeline.export(run, "npz", out=tmp_path_factory.mktemp("exports") / "plates").path


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """A copy of the export, to be spoiled."""
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def train(data: Path, out: Path, **settings: object) -> Run:
    """Train the stranger's model."""
    return pipeline.train(pipeline.TrainSettings(**{**SETTINGS, "data": str(data), **settings}), out=out).run


def rewrite(folder: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Write another manifest, with a right digest."""
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
    del manifest["digest"]
    change(manifest)
    (folder / "manifest.yaml").write_text(seal(manifest))


def test_an_export_holds_what_its_manifest_says(run: Run, exported: Path) -> None:
    manifest = yaml.safe_load((exported / "manifest.yaml").read_text())
    assert (manifest["exporter"], manifest["plugin"]) == ("npz", {"distribution": "adcli-mean", "version": "1.2.3"})
    assert (manifest["model"], manifest["task"], manifest["image_size"]) == ("mean_image", "segmentation", [48, 48])
    calibration = run.calibration.digest
    made_from = {"name": "plates", "weights": run.record["weights"], "calibration": calibration, "learnt_from": "grey"}
    assert manifest["run"] == made_from
    assert set(manifest["files"]) == {"mean.npz", "calibration.json", "fitted.txt"}
    assert {path.name for path in exported.iterdir()} == {*manifest["files"], "manifest.yaml", "calibrations"}
    assert manifest["measured"]["images"] == 12
    assert manifest["measured"]["score_difference"] < 1e-4
    assert manifest["measured"]["verdicts"]["unequal"] == 0
    assert {"batch_1", "batch_16"} < set(manifest["measured"]["speed"])


def test_an_export_names_no_folder_and_no_user(run: Run, exported: Path) -> None:
    for path in filter(Path.is_file, exported.rglob("*")):
        assert str(run.path.parent).encode() not in path.read_bytes()
        assert str(Path.home()).encode() + b"/" not in path.read_bytes()


def test_the_calibration_is_of_the_exported_graph_on_the_runs_own_images(run: Run, parts: Path, tmp_path: Path) -> None:
    coarse = pipeline.export(run, "npz", {"precision": "fp16"}, out=tmp_path / "fp16")
    assert coarse.calibration.n == run.calibration.n == 5
    assert coarse.calibration.image_scores != run.calibration.image_scores
    assert coarse.calibration.image_scores == pytest.approx(run.calibration.image_scores, rel=1e-2)
    held_out = {prediction.score for prediction in pipeline.predict(coarse, [parts / "train"])}
    assert set(coarse.calibration.image_scores) <= held_out


def test_an_export_lies_in_its_run_unless_told_otherwise(adcli: Adcli, parts: Path) -> None:
    train(parts, Path("runs/20260101-000000-mean_image-parts"))
    outcome = adcli("export", "last", "--to", "npz")
    assert outcome.code == 0, outcome.err
    assert "12 images" in outcome.out
    assert "ratio" in outcome.out
    assert [path.name for path in Path("runs/20260101-000000-mean_image-parts/exports").iterdir()] == ["npz"]
    assert adcli("predict", "last/exports/npz", parts / "test/good").code == 0


def test_an_export_predicts_as_its_run_does(adcli: Adcli, run: Run, exported: Path, parts: Path) -> None:
    rows, found = (json.loads(adcli("predict", it, parts / "test", "--json").out) for it in (run.path, exported))
    assert [row["image"] for row in found] == [row["image"] for row in rows]
    assert [row["verdict"] for row in found] == [row["verdict"] for row in rows]
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in rows], rel=1e-4)
    places = [[(region["x"], region["y"], region["width"]) for region in row["regions"]] for row in rows]
    assert [[(region["x"], region["y"], region["width"]) for region in row["regions"]] for row in found] == places
    assert any(places)
    table = csv.DictReader(adcli("predict", exported, parts / "test", "--format", "csv").out.splitlines())
    assert [float(row["score"]) for row in table] == [row["score"] for row in found]


def test_an_export_tells_whether_it_has_maps(exported: Path) -> None:
    export = Export.open(exported)
    assert pipeline.has_maps(export)
    assert not pipeline.has_maps(replace(export, manifest={**export.manifest, "task": "classification"}))


@pytest.mark.thorough
def test_an_export_draws_and_fails_as_its_run_does(adcli: Adcli, run: Run, exported: Path, parts: Path) -> None:
    for it, out in ((run.path, "run"), (exported, "export")):
        outcome = adcli("predict", it, parts / "test/scratch", "--out", out, "--overlays", "--fail-on-defect")
        assert outcome.code == 3, outcome.err
    pictures = sorted(path.name for path in Path("run/maps").iterdir())
    assert sorted(path.name for path in Path("export/maps").iterdir()) == pictures
    for name in pictures:
        drawn, expected = (np.asarray(Image.open(Path(out) / "maps" / name)).astype(int) for out in ("export", "run"))
        assert np.abs(drawn - expected).mean() < 0.1


WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
from adcli.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not set({heavy}) & set(sys.modules)
    raise
"""
HEAVY = ("torch", "torchvision", "timm", "sklearn", "matplotlib", "safetensors", "jinja2")


def without_torch(cwd: Path, *arguments: object) -> Outcome:
    """Run ``adcli`` in a process that can import nothing heavy."""
    command = [sys.executable, "-c", WITHOUT_TORCH.format(heavy=HEAVY), *map(str, arguments)]
    path = os.pathsep.join([str(THIRD_PARTY), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.thorough
def test_prediction_with_an_export_never_imports_torch(exported: Path, parts: Path, tmp_path: Path) -> None:
    assert without_torch(tmp_path, "--help").code == 0
    assert "adcli-mean" in without_torch(tmp_path, "plugins").out
    files = ("--out", "seen", "--pictures", "overlay", "--maps", "tiff")
    outcome = without_torch(tmp_path, "predict", exported, parts / "test", *files, "--json")
    assert outcome.code == 0, outcome.err
    assert len(json.loads(outcome.out)) == len(list((tmp_path / "seen/maps").rglob("*.png"))) == 12
    outcome = without_torch(tmp_path, "bench", exported, parts / "test/good", "--json")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("command", ["train", "predict", "export"])
def test_what_needs_torch_says_how_to_install_it(run: Run, parts: Path, tmp_path: Path, command: str) -> None:
    arguments = {
        "train": ["--model", "mean_image", "--data", parts],
        "predict": [run.path, parts / "test"],
        "export": [run.path, "--to", "npz", "--out", tmp_path / "out"],
    }[command]
    assert_one_line(without_torch(tmp_path, command, *arguments), 6, "this needs the package", "adcli-core[torch]")


def test_a_graph_that_scores_otherwise_is_refused_and_not_kept(adcli: Adcli, run: Run, tmp_path: Path) -> None:
    outcome = adcli("export", run.path, "--to", "npz", "-o", "error=0.5", "--out", tmp_path / "new/folder")
    assert_one_line(outcome, 10, "scores differ", "above 0.001", str(run.path))
    assert not (tmp_path / "new").exists()


def test_an_exporter_that_fails_is_named_and_leaves_nothing(
    adcli: Adcli, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adcli_mean import export as module

    monkeypatch.setattr(module, "export", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug\nof the exporter")))
    assert_one_line(adcli("export", run.path, "--to", "npz", "--out", "x"), 6, "adcli-mean 1.2.3", "a bug of the")
    monkeypatch.setattr(module, "export", lambda *_: {"file": "mean.npz"})
    assert_one_line(adcli("export", run.path, "--to", "npz", "--out", "x"), 6, "adcli-mean 1.2.3", "tolerance")
    monkeypatch.setattr(module, "export", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert adcli("export", run.path, "--to", "npz", "--out", "x").code == 130
    assert not Path("x").exists()
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--to", "npx"], 2, ["exporter 'npx'", "Did you mean 'npz'?"]),
        (["--to", "npz", "-o", "precision=fp8"], 2, ["precision", "fp8", "fp16"]),
        (["--to", "npz", "-o", "precison=fp16"], 2, ["Did you mean 'precision'?"]),
        (["--to", "npz", "--out", "."], 9, ["exists already"]),
        (["--to", "npz", "--data", "./nowhere", "--out", "x"], 4, ["nowhere"]),
    ],
)
def test_a_wrong_request_is_one_line(adcli: Adcli, run: Run, arguments: list[str], code: int, words: list[str]) -> None:
    assert_one_line(adcli("export", run.path, *arguments), code, *words)
    assert not Path("x").exists()


def test_only_finished_runs_can_be_exported(adcli: Adcli, run: Run, exported: Path, tmp_path: Path) -> None:
    unfinished = Path(shutil.copytree(run.path, tmp_path / ".partial/unfinished"))
    content = yaml.safe_load((unfinished / "run.yaml").read_text())
    del content["digest"], content["record"]["weights"]
    (unfinished / "run.yaml").write_text(seal(content))
    assert_one_line(adcli("export", unfinished, "--to", "npz"), 5, "not finished", "--resume")
    assert_one_line(adcli("export", exported, "--to", "npz"), 5, "needs a run")
    assert_one_line(adcli("predict", tmp_path, "x.png"), 5, "neither a run", "nor an export")


@pytest.mark.parametrize("name", ["manifest.yaml", "calibration.json", "mean.npz"])
def test_an_export_with_a_changed_byte_or_a_missing_file_is_refused(
    adcli: Adcli, copy: Path, parts: Path, name: str
) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    assert_one_line(adcli("predict", copy, parts / "test"), 10, name, "digest differs")
    (copy / name).unlink()
    outcome = adcli("predict", copy, parts / "test")
    assert_one_line(outcome, 5 if name == "manifest.yaml" else 10, name)


def test_another_models_graph_is_refused(adcli: Adcli, run: Run, copy: Path, parts: Path, tmp_path: Path) -> None:
    other = pipeline.export(train(parts, tmp_path / "other", seed=9), "npz")
    shutil.copyfile(other.path / "mean.npz", copy / "mean.npz")
    assert_one_line(adcli("predict", copy, parts / "test"), 10, "mean.npz", "not the file that was exported")


def test_an_export_of_a_missing_plugin_or_another_version_names_it(adcli: Adcli, copy: Path, parts: Path) -> None:
    rewrite(copy, lambda manifest: manifest.update(plugin={"distribution": "adcli-mean", "version": "2.0.0"}))
    assert_one_line(adcli("predict", copy, parts / "test"), 6, "adcli-mean 2.0.0", "adcli-mean 1.2.3")
    rewrite(copy, lambda manifest: manifest.update(plugin={"distribution": "adcli-gone", "version": "2.0.0"}))
    assert_one_line(adcli("predict", copy, parts / "test"), 6, "adcli-gone 2.0.0")
    rewrite(copy, lambda manifest: manifest.update(format=99, core="7.0.0"))
    assert_one_line(adcli("predict", copy, parts / "test"), 10, "7.0.0", "upgrade")
    rewrite(copy, lambda manifest: manifest.pop("files") and manifest.update(format=FORMAT))
    assert_one_line(adcli("predict", copy, parts / "test"), 10, "manifest.yaml: files is missing")


def test_devices_that_an_export_does_not_run_on_are_named(adcli: Adcli, exported: Path, parts: Path) -> None:
    refused = adcli("predict", exported, parts / "test", "--device", "hpu")
    assert_one_line(refused, 2, "--device hpu: an export to npz runs on cpu")


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"calibration": "none"}, "none"),
        ({"calibration": "3-fold"}, "k-fold"),
        ({"calibration": "FOLDER"}, "folder"),
        ({"threshold": "0.05"}, "value"),
        ({"threshold": "f1", "validation": "FOLDER"}, "f1"),
        ({"skip_unreadable": True, "workers": 0}, "held-out"),
    ],
)
def test_every_way_to_calibrate_can_be_exported(
    parts: Path, others: Path, tmp_path: Path, settings: dict[str, object], method: str
) -> None:
    folders = {"calibration": others / "test/good", "validation": others / "test"}
    settings = {key: str(folders[key]) if value == "FOLDER" else value for key, value in settings.items()}
    run = train(parts, tmp_path / "run", **settings)
    export = pipeline.export(run, "npz")
    assert export.calibration.method == method
    assert export.calibration.n == run.calibration.n
    thresholds = export.calibration.image_threshold, run.calibration.image_threshold
    assert thresholds == (None, None) if method == "none" else thresholds[0] == pytest.approx(thresholds[1], rel=1e-3)
    assert ("verdicts" in export.manifest["measured"]) == (method != "none")
    assert export.manifest["calibration"]["scored_by"] == ("run" if method == "k-fold" else "export")


def test_a_run_that_was_calibrated_anew_is_exported_as_it_is_now(adcli: Adcli, parts: Path, tmp_path: Path) -> None:
    run = pipeline.recalibrate(train(parts, tmp_path / "run"), rate=0.5)
    export = pipeline.export(run, "npz", out=tmp_path / "half")
    assert export.calibration.rate == 0.5
    assert export.calibration.image_threshold == pytest.approx(run.calibration.image_threshold, rel=1e-3)
    good = str(parts / "test/good")
    run = pipeline.recalibrate(run, good)
    assert (run.calibration.method, run.calibration.rate, run.calibration.n) == ("folder", 0.5, 6)
    for where in ({}, {"data": good}):
        export = pipeline.export(run, "npz", out=tmp_path / f"given {len(where)}", **where)
        assert export.calibration.image_threshold == pytest.approx(run.calibration.image_threshold, rel=1e-3)
        assert export.calibration.n == 6


def test_the_graphs_own_resizing_is_checked(
    parts: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adcli_mean import runtime

    def nearest(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        rows, columns = (np.arange(new) * old // new for new, old in zip(size, pixels.shape, strict=False))
        return pixels[rows][:, columns]

    monkeypatch.setattr(runtime, "resize", nearest)
    for it in (run, train(parts, tmp_path / "of the images' size", image_size="64")):
        with pytest.raises(ExportError, match="differ"):
            pipeline.export(it, "npz", out=tmp_path / "x")


def test_images_of_many_sizes_can_be_compared(tmp_path: Path) -> None:
    data = write_parts(tmp_path / "data", defective=0, good=0)
    for i, size in enumerate(((31, 90), (200, 77), (48, 48))):
        draw_part(i)[0].resize(size).save(data / f"train/good/other-{i}.png")
    run = train(data, tmp_path / "run", calibration="0.9")
    measured = pipeline.export(run, "npz").manifest["measured"]
    assert measured["images"] == 24
    assert measured["score_difference"] < 1e-4


def test_without_its_images_a_run_is_exported_with_others(adcli: Adcli, tmp_path: Path) -> None:
    data = write_parts(tmp_path / "data", defective=2)
    run = train(data, tmp_path / "run")
    (data / "train/good/000.png").unlink()
    assert_one_line(adcli("export", run.path, "--to", "npz"), 4, str(data), "have changed", "--data DIR")
    shutil.move(data / "test/good", tmp_path / "others")
    shutil.rmtree(data)
    assert_one_line(adcli("export", run.path, "--to", "npz"), 4, str(data), "no such folder", "--data DIR")
    assert not (run.path / "exports").exists()
    outcome = adcli("export", run.path, "--to", "npz", "--data", tmp_path / "others", "--json")
    assert outcome.code == 0, outcome.err
    manifest = json.loads(outcome.out)
    assert manifest["calibration"] == {
        "method": "folder", "images": 6, "rate": 0.2, "achievable_rate": 0.2, "scored_by": "export",
    }  # fmt: skip
    assert manifest["measured"]["verdicts"]["unequal"] == 0


def test_an_export_can_be_evaluated_beside_its_run(exported: Path, run: Run, parts: Path, tmp_path: Path) -> None:
    copied = pipeline.load(shutil.copytree(run.path, tmp_path / "run"))
    scorer = pipeline.open_scorer(pipeline.find(exported))
    evaluation, folder = pipeline.evaluate(copied, scorer=scorer, name="npz")
    assert folder == copied.path / "evaluations/npz"
    expected = json.loads((run.path / "metrics.json").read_text())
    assert evaluation.metrics["image"] == expected["image"]
    assert evaluation.metrics["pixel"] == pytest.approx(expected["pixel"], rel=1e-3, abs=1e-4)


def test_speed_is_measured_of_runs_and_of_exports(adcli: Adcli, run: Run, exported: Path, parts: Path) -> None:
    for it, stage in ((run.path, "model"), (exported, "graph")):
        outcome = adcli("bench", it, parts / "test", "--json")
        assert outcome.code == 0, outcome.err
        timings = json.loads(outcome.out)
        assert timings["images"] == 12
        assert 0 < timings["latency"]["median"] <= timings["latency"]["p95"]
        assert min(timings["load"], timings["first_image"], timings["throughput"], timings["throughput_decoding"]) > 0
        assert list(timings["stages"]) == ["decode", "resize", stage, "verdict"]
        assert min(timings["stages"].values()) > 0
    assert "throughput" in adcli("bench", exported).out


def test_an_exporter_explains_its_options(adcli: Adcli) -> None:
    shown = adcli("exporters", "show", "npz").out
    assert "fp32 | fp16" in shown
    assert "adcli export last --to npz -o precision=fp32" in shown
    assert "npz" in adcli("exporters").out
    assert_one_line(adcli("exporters", "show", "npx"), 2, "Did you mean 'npz'?")


def test_the_python_interface_opens_runs_and_exports(run: Run, exported: Path, parts: Path) -> None:
    assert isinstance(pipeline.find(run.path), Run)
    export = pipeline.find(exported)
    assert isinstance(export, Export)
    (prediction, *_) = pipeline.predict(export, [parts / "test/scratch"])
    assert prediction.map is not None
    assert prediction.map.shape == (64, 64)
    with pytest.raises(AttributeError, match="nonsense"):
        pipeline.nonsense  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AdcliError, match="export"):
        pipeline.load(exported)


def test_a_graph_is_never_scored_with_under_the_threshold_of_another(run: Run, copy: Path) -> None:
    opened = pipeline.find(copy)
    pipeline.recalibrate(pipeline.find(copy), threshold=1.5)
    with pytest.raises(RunError, match="was replaced or calibrated a moment ago"):
        pipeline.open_scorer(opened)
    assert pipeline.open_scorer(pipeline.find(copy)).calibration.image_threshold == 1.5


def test_a_run_that_is_removed_between_two_reads_of_it_is_gone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = pipeline.find(shutil.copytree(run.path, tmp_path / "copy"))

    def digest_and_remove(path: Path) -> str:
        digest = file_digest(path)
        shutil.rmtree(opened.path)
        return digest

    monkeypatch.setattr("adcli.runs.run.file_digest", digest_and_remove)
    with pytest.raises(RunError, match=r"copy: is gone; another command has just removed or renamed it\.$"):
        pipeline.open_scorer(opened)


def test_an_export_that_is_removed_before_its_graph_is_loaded_is_gone(copy: Path) -> None:
    opened = pipeline.find(copy)
    shutil.rmtree(copy)
    with pytest.raises(RunError, match=r"copy: is gone; another command has just removed or renamed it\.$"):
        pipeline.open_scorer(opened)


def test_an_export_says_which_command_made_it_without_a_path(run: Run, exported: Path) -> None:
    (first,) = pipeline.calibrations(Export.open(exported))
    assert first.command == f"adcli export {run.name} --to npz --out {exported.name}"
