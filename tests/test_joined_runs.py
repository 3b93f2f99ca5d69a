"""Runs of several backbones, ``A+B``, from training to export."""

from pathlib import Path

import pytest
import yaml
from support import Adcli, assert_one_line, scored_rows

from adcli._plugins.registry import registry

PAIR = "random:resnet18+random:mobilenetv3_small_050"
QUICK = ("--backbone", PAIR, "--image-size", "64", "-o", "layers=2+1,3")


def test_a_run_of_two_backbones_keeps_its_layers_and_predicts_what_it_evaluated(adcli: Adcli, parts: Path) -> None:
    assert adcli("train", "-m", "patchcore", "--data", parts, *QUICK, "--out", "run").code == 0
    record = yaml.safe_load(Path("run/run.yaml").read_text())
    assert record["options"]["backbone"] == PAIR
    assert record["options"]["layers"] == "2+1,3"
    expected = {Path(row["image"]).name: float(row["score"]) for row in scored_rows(Path("run"))}
    assert adcli("predict", "run", parts / "test/scratch", "--out", "rows").code == 0
    rows = Path("rows/predictions.csv").read_text().splitlines()
    scores = [float(row.split(",")[rows[0].split(",").index("score")]) for row in rows[1:]]
    assert len(scores) == 6
    assert all(min(abs(score - other) for other in expected.values()) < 1e-5 * abs(score) for score in scores)


def test_two_fits_of_one_seed_are_the_same(adcli: Adcli, parts: Path) -> None:
    for name in ("one", "other"):
        assert adcli("train", "-m", "dfm", "--data", parts, *QUICK, "--out", name).code == 0
    assert scored_rows(Path("one")) == scored_rows(Path("other"))


@pytest.mark.thorough
@pytest.mark.parametrize("exporter", sorted(registry().exporters))
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("patchcore", "distance=cosine score=mean_top1p rotations=2 foreground=true neighbourhood=1"),
        ("padim", "dimensions=20"),
        ("dfm", "features=patch score=mean_top1p rotations=2"),
        ("dfkde", "components=4"),
        ("cflow", "epochs=1 coupling_blocks=1"),
        ("stfpm", "epochs=1"),
    ],
)
def test_a_run_of_two_backbones_is_exported(adcli: Adcli, parts: Path, model: str, options: str, exporter: str) -> None:
    given = [word for option in options.split() for word in ("-o", option)]
    assert adcli("train", "-m", model, "--data", parts, *QUICK, *given, "--out", "run").code == 0
    outcome = adcli("export", "run", "--to", exporter, "--out", "export")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("model", "more", "code", "words"),
    [
        ("reverse_distillation", (), 7, "needs three that are doubled"),
        ("patchcore", ("-o", "reweight=3"), 2, "reweight is for a single bank"),
        ("patchcore", ("-o", "weights=x.pt"), 2, "weights is a file for one backbone"),
        ("padim", ("-o", "layers=1+2+3"), 2, "has 3 lists, and there are 2 backbones"),
    ],
)
def test_what_does_not_go_with_two_backbones_is_one_line(
    adcli: Adcli, parts: Path, model: str, more: tuple[str, ...], code: int, words: str
) -> None:
    outcome = adcli("train", "-m", model, "--data", parts, "--backbone", PAIR, "--image-size", "64", *more)
    assert_one_line(outcome, code, words)


def test_backbones_are_shown_one_at_a_time(adcli: Adcli) -> None:
    assert_one_line(adcli("backbones", "show", PAIR), 7, "is several backbones: name one of them")
