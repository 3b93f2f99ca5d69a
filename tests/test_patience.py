"""``--patience``: a training ends when it no longer helps, and says so."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import Adcli

from adcli import pipeline
from adcli.nn import training

UNSTEADY = ("-m", "ganomaly", "--image-size", "32", "-o", "features=4", "-o", "learning_rate=0.05")
"""Steps so large that the loss rises soon."""


def stopped(run: str) -> dict[str, int]:
    return yaml.safe_load(Path(run, "run.yaml").read_text())["record"]["stopped"]


def test_a_training_stops_by_itself_and_says_and_records_it(adcli: Adcli, parts: Path) -> None:
    outcome = adcli("train", *UNSTEADY, "-o", "epochs=60", "--data", parts, "--patience", 1, "--out", "run")
    assert outcome.code == 0, outcome.err
    found = stopped("run")
    assert 1 <= found["kept"] == found["trained"] - 1 < 59
    assert f"stopped after {found['trained']} of 60 epochs" in outcome.err
    assert f"{found['trained']}, of which {found['kept']} are kept" in Path("run/report.html").read_text()
    assert adcli("train", "--config", "run/run.yaml", "--out", "again").code == 0
    assert stopped("again") == found
    weights = [pipeline.load(name).record["weights"] for name in ("run", "again")]
    assert weights[0] == weights[1]


def test_without_it_all_epochs_are_trained(adcli: Adcli, parts: Path) -> None:
    outcome = adcli("train", *UNSTEADY, "-o", "epochs=3", "--data", parts, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "stopped" not in yaml.safe_load(Path("run/run.yaml").read_text())["record"]


def test_a_model_of_one_pass_says_that_it_changes_nothing(adcli: Adcli, parts: Path) -> None:
    given = ("-m", "dfkde", "--backbone", "random:resnet18", "--image-size", "32", "--data", parts)
    outcome = adcli("train", *given, "--patience", 3)
    assert outcome.code == 0, outcome.err
    assert "--patience: changes nothing; dfkde fits in one pass." in outcome.err


@pytest.mark.thorough
@pytest.mark.parametrize("model", ["stfpm", "reverse_distillation", "cflow", "supersimplenet"])
def test_every_model_that_trains_on_features_stops(
    adcli: Adcli, parts: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    measured, mean_loss = list[float](), training._mean_loss

    def rising(loss: Any, held_out: Any) -> float:
        measured.append(mean_loss(loss, held_out))
        return len(measured)

    monkeypatch.setattr(training, "_mean_loss", rising)
    given = ("-m", model, "--backbone", "random:resnet18", "--image-size", "64", "-o", "epochs=20", "--data", parts)
    outcome = adcli("train", *given, "--patience", 2, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert stopped("run") == {"trained": 3, "kept": 1}
    assert all(map(math.isfinite, measured))
    assert len({*measured}) == 3
