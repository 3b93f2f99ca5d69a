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
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from support import write_parts

pytestmark = pytest.mark.slow

BACKBONE = {"backbone": "random:resnet18"}
MODELS: dict[str, dict[str, Any]] = {
    "padim": {**BACKBONE, "dimensions": 20, "reduction": "pca"},
    "dfm": BACKBONE,
    "dfkde": {**BACKBONE, "components": 4, "layers": [1, 2, 3]},
    "patchcore": {**BACKBONE, "coreset": 0.2, "standardise": True},
    "stfpm": {**BACKBONE, "epochs": 15},
    "reverse_distillation": {**BACKBONE, "epochs": 15, "loss": "local", "combine": "multiply"},
    "cflow": {**BACKBONE, "layers": [1, 2], "coupling_blocks": 2, "epochs": 4},
    "ganomaly": {"epochs": 60, "features": 8, "learning_rate": 2e-3, "schedule": "cosine"},
}
MOMENTS = ("padim", "dfm", "dfkde")
TRAINED = ("stfpm", "reverse_distillation", "cflow", "ganomaly")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

Runs = dict[str, dict[int, Path]]


def launched(*arguments: object, processes: int, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run python in one process or in two."""
    command = [*(TORCHRUN if processes == 2 else [sys.executable]), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All eight models, each trained by one process and by two that share its batches."""
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


@pytest.mark.parametrize("model", MOMENTS)
def test_moments_added_up_give_the_scores_of_one_process(runs: Runs, model: str) -> None:
    (one, _), (two, _) = scored(runs[model][1]), scored(runs[model][2])
    assert np.abs(one - two).max() <= 1e-4 * np.ptp(one)


def test_patchcore_picks_the_same_patches(runs: Runs) -> None:
    one, two = (safetensors.torch.load_file(runs["patchcore"][n] / "model.safetensors")["bank"] for n in (1, 2))
    assert one.shape == two.shape
    np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("model", TRAINED)
def test_averaged_gradients_train_a_model_as_good(runs: Runs, model: str) -> None:
    one, two = (roc_auc_score(labels, scores) for scores, labels in map(scored, runs[model].values()))
    assert abs(one - two) <= 0.01
