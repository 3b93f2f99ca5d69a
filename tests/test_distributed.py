"""Two processes that torchrun starts fit what one process fits."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from support import scored_rows, write_parts

from adcli.testing.models import COUNT, damaged_images, good_images, scores_of_two_processes, subject_of

pytestmark = pytest.mark.slow
matrix = pytest.mark.matrix

BACKBONE = {"backbone": "random:resnet18"}
MODELS: dict[str, dict[str, Any]] = {
    "padim": {**BACKBONE, "dimensions": 20, "reduction": "pca"},
    "dfm": BACKBONE,
    "dfkde": {**BACKBONE, "components": 4, "layers": [1, 2, 3]},
    "patchcore": {**BACKBONE, "coreset": 0.2, "standardise": True},
    "stfpm": {**BACKBONE, "layers": [1, 2], "epochs": 30, "learning_rate": 0.1},
    "reverse_distillation": {**BACKBONE, "epochs": 15, "loss": "local", "combine": "multiply"},
    "cflow": {**BACKBONE, "layers": [1, 2], "coupling_blocks": 2, "epochs": 4},
}
MOMENTS = ("padim", "dfm", "dfkde")
TRAINED = ("stfpm", "reverse_distillation", "cflow")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

Runs = dict[str, dict[int, Path]]


def launched(*arguments: object, processes: int, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run python in one process or in two."""
    command = [*(TORCHRUN if processes == 2 else [sys.executable]), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Seven models, each trained by one process and by two that share its batches."""
    root = tmp_path_factory.mktemp("distributed")
    parts = write_parts(root / "parts", train=29, good=12, defective=12)
    found: Runs = {model: {} for model in MODELS}
    for processes in (1, 2):
        tasks = []
        for model, options in MODELS.items():
            found[model][processes] = root / f"{model}-{processes}"
            settings = {"model": model, "data": str(parts), "options": options, "image_size": "64", "device": "cpu"}
            tasks.append((settings | {"batch_size": 16 // processes}, str(found[model][processes])))
        script = Path(__file__).with_name("train_several.py")
        done = launched(script, json.dumps(tasks), processes=processes, cwd=root)
        assert done.returncode == 0, done.stderr[-3000:]
    return found


def scored(run: Path) -> tuple[NDArray[np.float64], list[bool]]:
    """Return the scores of the test images, and which are defective."""
    with (run / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    return np.array([float(row["score"]) for row in rows]), [row["label"] == "defect" for row in rows]


@matrix
@pytest.mark.parametrize("model", MOMENTS)
def test_moments_added_up_give_the_scores_of_one_process(runs: Runs, model: str) -> None:
    (one, _), (two, _) = scored(runs[model][1]), scored(runs[model][2])
    assert np.abs(one - two).max() <= 1e-4 * np.ptp(one)


@matrix
def test_patchcore_picks_the_same_patches(runs: Runs) -> None:
    one, two = (safetensors.torch.load_file(runs["patchcore"][n] / "model.safetensors")["bank"] for n in (1, 2))
    assert one.shape == two.shape
    np.testing.assert_allclose(one, two, atol=1e-5)


@matrix
@pytest.mark.parametrize("model", TRAINED)
def test_averaged_gradients_train_a_model_as_good(runs: Runs, model: str) -> None:
    one, two = (roc_auc_score(labels, scores) for scores, labels in map(scored, runs[model].values()))
    assert abs(one - two) <= 0.01


@matrix
def test_ganomaly_trains_as_well_on_images_that_it_can_learn() -> None:
    """Of the textured parts it learns so little in seconds that its AUROC says nothing.

    After fewer epochs its AUROC depends on the last digits: from 0.94 to 0.99 at step sizes that differ by a millionth.
    """
    subject = subject_of("ganomaly", {"epochs": "200"})
    two, again = scores_of_two_processes(subject.spec, subject.spec.options.parse(subject.options))
    np.testing.assert_array_equal(two, again)
    images = torch.cat([good_images(), damaged_images()])
    labels = [False] * COUNT + [True] * COUNT
    one = subject.scores(images).image
    assert abs(roc_auc_score(labels, two) - roc_auc_score(labels, one)) <= 0.01


def train_arguments(model: str, parts: Path, out: str) -> list[str]:
    """Return the command that trains a model of a few epochs or none."""
    quick = ["--backbone", "random:resnet18", "--image-size", "64", "-o", "layers=1,2,3", "--batch-size", "8"]
    return ["train", "--model", model, "--data", str(parts), *quick, "--device", "cpu", "--out", out]


@pytest.mark.thorough
def test_an_unreadable_image_of_one_process_ends_both_with_one_line(tmp_path: Path) -> None:
    parts = write_parts(tmp_path / "parts", train=20)
    last = sorted((parts / "train/good").glob("*.png"))[-1]
    last.write_text("no image")
    arguments = ["-m", "adcli", *train_arguments("padim", parts, "out/run"), "--calibration", "none"]
    done = launched(*arguments, processes=2, cwd=tmp_path)
    assert done.returncode != 0
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("Error: "))
    assert last.name in line
    assert "Traceback" not in done.stderr.split("Error: ")[0]
    assert list((tmp_path / "out").rglob("*")) == []


@matrix
def test_other_commands_and_folds_are_refused(tmp_path: Path) -> None:
    done = launched("-m", "adcli", "evaluate", "last", processes=2, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("works in a single process") == 1
    parts = write_parts(tmp_path / "parts", train=6, good=1, defective=1)
    arguments = ["-m", "adcli", *train_arguments("padim", parts, "run"), "--calibration", "2-fold"]
    done = launched(*arguments, processes=2, cwd=tmp_path)
    assert done.stderr.count("--calibration 2-fold: works in a single process") == 1


# Interrupted after the first epoch, by the first process, which alone writes checkpoints.
INTERRUPTED = """
import sys
from adcli.nn import _checkpoint as training
from adcli.cli import main
training.CHECKPOINT_SECONDS = 0.0
save = training.save_checkpoint
def save_and_stop(*arguments, **keywords):
    save(*arguments, **keywords)
    raise KeyboardInterrupt
training.save_checkpoint = save_and_stop
main(sys.argv[1:])
"""


@matrix
def test_a_resumed_training_of_two_ends_with_the_scores_of_an_uninterrupted_one(tmp_path: Path) -> None:
    arguments = [*train_arguments("reverse_distillation", write_parts(tmp_path / "parts"), "broken"), "-o", "epochs=2"]
    (tmp_path / "stop.py").write_text(INTERRUPTED)
    stopped = launched("stop.py", *arguments, processes=2, cwd=tmp_path)
    assert "continue with: adcli train --resume" in stopped.stderr
    assert "Error" not in stopped.stderr.split("continue with")[0]
    alone = launched("-m", "adcli", "train", "--resume", "broken", processes=1, cwd=tmp_path)
    assert alone.returncode == 5
    assert "as many" in alone.stderr
    resumed = launched("-m", "adcli", "train", "--resume", "broken", processes=2, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    whole = launched("-m", "adcli", *arguments[:-3], "whole", *arguments[-2:], processes=2, cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr[-2000:]
    assert scored_rows(tmp_path / "broken") == scored_rows(tmp_path / "whole")
