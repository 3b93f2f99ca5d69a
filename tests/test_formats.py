"""Runs, exports, masters and tables that earlier builds made: what is committed is opened with equal verdicts."""

import csv
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import make_fixtures
import pytest
import yaml
from support import Adcli

from adcli import pipeline
from adcli.exports import export
from adcli.runs import calibrations, masters, run
from adcli.scoring import verdict
from adcli.scoring.verdict import VerdictRecord, read_table

GENERATIONS = sorted(path for path in make_fixtures.FIXTURES.iterdir() if path.is_dir())
READ: Mapping[str, int] = {
    "run": run.FORMAT,
    "export": export.FORMAT,
    "calibration": calibrations.FORMAT,
    "verdict": verdict.FORMAT,
    "masters": masters.FORMAT,
}
"""The version of each format that this build writes."""

DOCS = Path(__file__).parent.parent / "docs/runs.md"


@pytest.fixture(params=GENERATIONS, ids=lambda path: path.name)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of what one build made, with the master images."""
    folder = tmp_path / "made"
    shutil.copytree(request.param, folder)
    make_fixtures.write_masters(folder / "masters")
    return folder


def subjects(folder: Path) -> list[Path]:
    """Return the runs and exports in it."""
    found = sorted([*folder.glob("runs/*"), *folder.glob("exports/*")])
    assert found
    return found


def read_formats(folder: Path) -> dict[str, set[int]]:
    """Return the versions that the files of a generation state."""
    texts = {
        "run": [yaml.safe_load(path.read_text())["format"] for path in folder.glob("runs/*/run.yaml")],
        "export": [yaml.safe_load(path.read_text())["format"] for path in folder.glob("exports/*/manifest.yaml")],
        "calibration": [json.loads(path.read_text())["format"] for path in folder.glob("*/*/calibrations/*.json")],
        "masters": [json.loads(path.read_text())["format"] for path in folder.glob("masters/*.json")],
        "verdict": [
            int(row["format"])
            for path in (*folder.glob("table/*.csv"), *folder.glob("runs/*/scores.csv"))
            for row in csv.DictReader(path.open(newline=""))
        ],
    }
    return {name: set(versions) for name, versions in texts.items()}


def test_the_newest_fixtures_have_the_formats_that_are_written() -> None:
    found = [read_formats(folder) for folder in GENERATIONS]
    for name, version in READ.items():
        assert any(one[name] == {version} for one in found), f"{name} {version}: python tests/make_fixtures.py NAME"


def test_the_docs_say_which_versions_are_read() -> None:
    stated = dict(re.findall(r"^\| (\w+) \|[^|]*\| (\d+) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    assert stated == {name: str(version) for name, version in READ.items()}


def test_verdicts_and_scores_are_what_the_build_said(made: Path, adcli: Adcli) -> None:
    outcome = adcli("verify", *subjects(made), "--data", made / "masters", "--json")
    assert outcome.code == 0, outcome.out + outcome.err
    for found in json.loads(outcome.out):
        assert (found["state"], found["images"]) == ("equal", len(make_fixtures.MASTERS)), found
        assert (found["changed"], found["missing"], found["altered"], found["differences"]) == ([], [], [], [])


def test_masters_of_both_kinds_tell_good_from_defective(made: Path) -> None:
    for path in subjects(made):
        stored = json.loads((made / f"masters/{path.name}.masters.json").read_text())
        verdicts = {one["image"]: one["verdict"] for one in stored["images"]}
        assert verdicts == {
            f"{name}.ppm": "defect" if defect else "good" for name, (_, defect) in make_fixtures.MASTERS.items()
        }, path


def test_a_table_is_read_and_gone_on_with(made: Path, adcli: Adcli) -> None:
    table = made / "table/predictions.csv"
    kept = [record for record, _ in read_table(table)]
    images = [made / "masters" / Path(record.image).name for record in kept]
    images[0].write_bytes(b"P6 64 64 255\n")
    outcome = adcli(
        "predict", made / "runs" / kept[0].run, *images, "--out", table.parent, "--append", "--skip-unreadable"
    )
    assert outcome.code == 0, outcome.err
    records = [record for record, _ in read_table(table)]
    assert records[: len(kept)] == kept
    assert [tell(record) for record in records[len(kept) :]] == [tell(record) for record in kept]
    assert {record.verdict for record in kept} == {"good", "defect", "unreadable"}


def tell(record: VerdictRecord) -> tuple[object, ...]:
    """Return what a record says, but for the time, the place, and the digits that machines round."""
    score = None if record.score is None else f"{record.score:.2g}"
    return (
        Path(record.image).name,
        record.verdict,
        record.zone,
        score,
        record.p_value,
        record.model,
        len(record.regions),
    )


def test_the_history_of_calibrations_is_read_and_gone_back_in(tmp_path: Path, adcli: Adcli) -> None:
    several = [path.parent.parent for path in make_fixtures.FIXTURES.glob("*/runs/*/calibrations/0002.json")]
    assert several
    for number, source in enumerate(several):
        path = Path(shutil.copytree(source, tmp_path / str(number)))
        before, last = pipeline.calibrations(pipeline.load(path))
        assert adcli("calibrate", path, "--undo").code == 0
        assert pipeline.load(path).calibration.image_threshold == before.calibration.image_threshold
        assert before.calibration.image_threshold != last.calibration.image_threshold


def test_evaluations_are_compared(made: Path, adcli: Adcli) -> None:
    runs = sorted(made.glob("runs/*"))
    outcome = adcli("compare", *runs, runs[0], "--json")
    assert outcome.code == 0, outcome.err
    assert {row["auroc"] for row in json.loads(outcome.out)["runs"]} == {1.0}
