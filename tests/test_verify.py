"""``adcli verify``: what is another than when masters were recorded is found, and nothing else is said."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import make_fixtures
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file
from support import Adcli, assert_one_line

from adcli import pipeline
from adcli._artefacts import digest_of
from adcli._files import file_digest, seal
from adcli.data import framing
from adcli.pipeline import _verify
from adcli.runs.calibrations import KeptCalibration, kept_files, now

NEWEST = [path for path in sorted(make_fixtures.FIXTURES.iterdir()) if (path / "exports").is_dir()][-1]
"""The generation that has all runs and exports."""


@pytest.fixture
def masters(tmp_path: Path) -> Path:
    """A folder of master images."""
    return make_fixtures.write_masters(tmp_path / "masters")


@pytest.fixture
def padim(tmp_path: Path) -> Path:
    """A run, to be changed at will."""
    return Path(shutil.copytree(NEWEST / "runs/padim", tmp_path / "padim"))


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    """A run with zones and tiles."""
    return Path(shutil.copytree(NEWEST / "runs/zones", tmp_path / "zones"))


@pytest.fixture
def openvino(tmp_path: Path) -> Path:
    """An export."""
    return Path(shutil.copytree(NEWEST / "exports/padim-openvino", tmp_path / "openvino"))


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    """An export with zones and tiles."""
    return Path(shutil.copytree(NEWEST / "exports/zones-onnx", tmp_path / "onnx"))


def reseal(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a sealed file of YAML."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    del content["digest"]
    change(content)
    path.write_text(seal(content), encoding="utf-8")


def change_weight(run: Path, by: float) -> None:
    """Change one weight of a run, and everything that is said of it, as a training that ended with it would."""
    path = run / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name, values in tensors.items() if name.startswith("gaussians") and values.ndim == 3)
    tensors[name][..., 0].flat[0] += by
    if by > 1:
        tensors[name] += by
    save_file(tensors, path)
    digest = file_digest(path)
    kept = KeptCalibration(replace(pipeline.load(run).calibration, weights=digest, number=1), now())
    reseal(run / "run.yaml", lambda content: content["record"].update(weights=digest))
    for file, written in kept_files(kept, None).items():
        (run / file).write_bytes(written)


def reseal_export(folder: Path, *names: str) -> None:
    """Write the digests of changed files into the manifest of an export."""
    digests = {name: file_digest(folder / name) for name in names}
    reseal(folder / "manifest.yaml", lambda content: content["files"].update(digests))


def record(adcli: Adcli, masters: Path, *runs: Path) -> None:
    """Record what runs and exports say of masters."""
    outcome = adcli("verify", *runs, "--data", masters, "--record")
    assert outcome.code == 0, outcome.err


def found(adcli: Adcli, masters: Path, run: Path, code: int, *more: object) -> dict[str, Any]:
    """Verify, and return what is said as JSON."""
    outcome = adcli("verify", run, "--data", masters, "--json", *more)
    assert outcome.code == code, outcome
    (said,) = json.loads(outcome.out)
    assert isinstance(said, dict)
    return said


def names(differences: list[Mapping[str, Any]]) -> set[str]:
    return {difference["what"] for difference in differences}


# Equal


@pytest.mark.parametrize("subject", ["padim", "zones", "openvino", "onnx"])
def test_equal_everything_is_one_line_and_none_for_quiet(
    subject: str, masters: Path, adcli: Adcli, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(subject)
    record(adcli, masters, path)
    outcome = adcli("verify", path, "--data", masters)
    assert (outcome.code, outcome.out, outcome.err) == (0, f"equal      {subject}: 4 images, scores as recorded\n", "")
    quiet = adcli("verify", path, "--data", masters, "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


@pytest.mark.parametrize("more", [("--batch-size", 1), ("--batch-size", 3, "--workers", 0)])
def test_rounding_is_no_difference(more: tuple[object, ...], masters: Path, zones: Path, adcli: Adcli) -> None:
    record(adcli, masters, zones)
    said = found(adcli, masters, zones, 0, *more)
    assert said["state"] == "equal"
    assert said["largest"]["relative"] < 1e-3


def test_a_copy_elsewhere_and_renamed_images_are_equal(masters: Path, padim: Path, adcli: Adcli) -> None:
    record(adcli, masters, padim)
    shutil.copytree(padim, "line3/padim")
    (masters / "good-1.ppm").rename(masters / "other.ppm")
    said = found(adcli, masters, Path("line3/padim"), 0)
    assert (said["images"], said["missing"], said["extra"]) == (4, [], [])


# Different


def test_one_changed_weight_is_found(masters: Path, padim: Path, adcli: Adcli) -> None:
    record(adcli, masters, padim)
    change_weight(padim, 1e-7)
    outcome = adcli("verify", padim, "--data", masters, "-q")
    assert outcome.code == 0, outcome
    assert re.search(r"^ +weights: [0-9a-f]{12}\.\.\. -> [0-9a-f]{12}\.\.\.$", outcome.out, re.MULTILINE)
    assert outcome.out.startswith("equal ")


def test_weights_that_move_scores_fail(masters: Path, padim: Path, adcli: Adcli) -> None:
    record(adcli, masters, padim)
    change_weight(padim, 5)
    said = found(adcli, masters, padim, 3)
    assert len(said["moved"]) == 4
    assert {"weights", "calibration"} == names(said["differences"])
    assert said["largest"]["relative"] > 1e-3


def test_another_framing_is_found(masters: Path, padim: Path, adcli: Adcli) -> None:
    record(adcli, masters, padim)
    reseal(padim / "run.yaml", lambda content: content.update(crop="40"))
    outcome = adcli("verify", padim, "--data", masters)
    assert outcome.code == 3
    assert "framing.crop: none -> [40, 40]" in outcome.out


def test_another_framing_of_an_export_is_found(masters: Path, onnx: Path, adcli: Adcli) -> None:
    record(adcli, masters, onnx)
    path = onnx / "preparation.json"
    path.write_text(path.read_text().replace('"lower": [0, 32, 64, 32]', '"lower": [0, 16, 64, 32]'))
    reseal_export(onnx, "preparation.json")
    said = found(adcli, masters, onnx, 3)
    assert names(said["differences"]) == {"framing.zones"}


def test_a_changed_graph_is_found(masters: Path, onnx: Path, adcli: Adcli) -> None:
    import onnx as library

    record(adcli, masters, onnx)
    (path,) = onnx.rglob("*.onnx")
    graph = library.load(path)
    constant = next(one for one in graph.graph.initializer if "conv_stem.weight" in one.name)
    values = library.numpy_helper.to_array(constant) * np.float32(1.5)
    constant.CopyFrom(library.numpy_helper.from_array(values, constant.name))
    library.save(graph, path)
    reseal_export(onnx, path.relative_to(onnx).as_posix())
    said = found(adcli, masters, onnx, 3)
    assert names(said["differences"]) == {"graph"}


@pytest.mark.parametrize("subject", ["padim", "openvino"])
def test_a_changed_threshold_is_found(
    subject: str, masters: Path, adcli: Adcli, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(subject)
    record(adcli, masters, path)
    before = pipeline.find(path).calibration.image_threshold
    assert adcli("calibrate", path, "--threshold", "1e9").code == 0
    outcome = adcli("verify", path, "--data", masters)
    assert outcome.code == 3
    assert "2 with another verdict" in outcome.out
    assert len(re.findall(r"scratch-\d.ppm: defect -> good \(score ", outcome.out)) == 2
    assert f"threshold: {before:.6g} -> 1e+09" in outcome.out
    assert adcli("calibrate", path, "--undo").code == 0
    assert adcli("verify", path, "--data", masters, "-q").code == 0


def test_a_threshold_that_changes_no_verdict_is_said_and_no_failure(masters: Path, padim: Path, adcli: Adcli) -> None:
    record(adcli, masters, padim)
    threshold = pipeline.load(padim).calibration.image_threshold
    assert threshold is not None
    assert adcli("calibrate", padim, "--threshold", threshold * 1.01).code == 0
    outcome = adcli("verify", padim, "--data", masters, "-q")
    assert outcome.code == 0
    assert "threshold: " in outcome.out


def test_another_calibration_of_zones_moves_no_score(masters: Path, zones: Path, tmp_path: Path, adcli: Adcli) -> None:
    record(adcli, masters, zones)
    for i in range(12):
        make_fixtures.write_ppm(tmp_path / f"today/{i}.ppm", make_fixtures.draw(300 + i, defect=False))
    assert adcli("calibrate", zones, "--data", tmp_path / "today").code == 0
    said = found(adcli, masters, zones, 0)
    assert {"calibration", "threshold", "pixel_threshold"} == names(said["differences"])
    assert said["largest"]["difference"] == 0


def test_other_versions_are_said_once_and_are_no_failure(
    masters: Path, padim: Path, openvino: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(adcli, masters, padim, openvino)
    monkeypatch.setattr(_verify, "__version__", "9.9")
    outcome = adcli("verify", padim, openvino, "--data", masters)
    assert outcome.code == 0
    assert re.findall(r"^versions +(adcli-core: \S+ -> 9\.9 \(2 of 2\))$", outcome.out, re.MULTILINE)
    assert len(outcome.out.splitlines()) == 3
    assert adcli("verify", padim, openvino, "--data", masters, "-q").out == ""


def test_the_tolerance_decides_what_moved(masters: Path, zones: Path, adcli: Adcli) -> None:
    record(adcli, masters, zones)
    path = masters / "zones.masters.json"
    stored = json.loads(path.read_text())
    stored["images"][0]["zone_scores"]["lower"] += 0.01 * stored["scales"]["lower"]["range"]
    path.write_text(json.dumps(sealed(stored)))
    said = found(adcli, masters, zones, 3)
    assert (said["state"], said["moved"]) == ("moved", [stored["images"][0]["image"]])
    assert (said["largest"]["zone"], round(said["largest"]["relative"], 5)) == ("lower", 0.01)
    assert found(adcli, masters, zones, 0, "--tolerance", "0.02")["state"] == "equal"


def sealed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a masters' file holds with the digest that goes with it."""
    return {**stored, "digest": digest_of({name: value for name, value in stored.items() if name != "digest"})}


# Masters


def test_what_is_no_longer_as_recorded_is_said(masters: Path, padim: Path, adcli: Adcli) -> None:
    record(adcli, masters, padim)
    make_fixtures.write_ppm(masters / "new.ppm", make_fixtures.draw(950, defect=False))
    extra = adcli("verify", padim, "--data", masters)
    assert (extra.code, "not recorded: new.ppm" in extra.out) == (0, True)
    make_fixtures.write_ppm(masters / "good-1.ppm", make_fixtures.draw(951, defect=False))
    (masters / "scratch-1.ppm").unlink()
    outcome = adcli("verify", padim, "--data", masters)
    assert_one_line(outcome, 4, "scratch-1.ppm, good-1.ppm", "could not be compared")
    assert "equal      padim: 2 images" in outcome.out
    assert "missing: scratch-1.ppm" in outcome.out
    assert "altered: good-1.ppm" in outcome.out


def test_a_master_that_cannot_be_read_any_more_has_another_verdict(masters: Path, padim: Path, adcli: Adcli) -> None:
    record(adcli, masters, padim)
    # As if it had been readable with the libraries of that day.
    (masters / "good-1.ppm").write_bytes(b"P6 64 64 255\n")
    path = masters / "padim.masters.json"
    stored = json.loads(path.read_text())
    stored["images"][0]["digest"] = file_digest(masters / "good-1.ppm")
    path.write_text(json.dumps(sealed(stored)))
    outcome = adcli("verify", padim, "--data", masters)
    assert outcome.code == 3
    assert re.search(r"good-1\.ppm: good -> unreadable \(.*damaged", outcome.out)


def test_each_product_has_its_own_folder(masters: Path, padim: Path, zones: Path, openvino: Path, adcli: Adcli) -> None:
    for name in ("padim", "zones"):
        shutil.copytree(masters, Path("all") / name / "line 3")
    shutil.copytree(openvino, padim / "exports/openvino")
    record(adcli, Path("all"), padim, zones, padim / "exports/openvino")
    files = sorted(path.as_posix() for path in Path("all").rglob("*.json"))
    assert files == [
        "all/padim/padim.masters.json",
        "all/padim/padim.openvino.masters.json",
        "all/zones/zones.masters.json",
    ]
    for run in (padim, zones, padim / "exports/openvino"):
        assert found(adcli, Path("all"), run, 0)["images"] == 4
    # Its own folder may be given, too.
    assert found(adcli, Path("all/zones"), zones, 0)["images"] == 4
    # Images of others are not taken for its own.
    assert_one_line(adcli("verify", openvino, "--data", "all", "--record"), 4, "all: no images directly", "'openvino'")


def test_the_masters_of_another_are_taken_by_name(masters: Path, padim: Path, openvino: Path, adcli: Adcli) -> None:
    record(adcli, masters, padim)
    assert_one_line(adcli("verify", openvino, "--data", masters), 4, "nothing is recorded of 'openvino'", "--record")
    said = found(adcli, masters, openvino, 0, "--name", "padim")
    assert "kind" in names(said["differences"])
    for name in ("../padim", "", "a/b"):
        assert_one_line(adcli("verify", openvino, "--data", masters, "--name", name), 2, "--name")


def test_what_is_recorded_is_not_recorded_again_unnoticed(masters: Path, padim: Path, adcli: Adcli) -> None:
    record(adcli, masters, padim)
    before = (masters / "padim.masters.json").read_bytes()
    assert_one_line(adcli("verify", padim, "--data", masters, "--record"), 9, "padim.masters.json", "--force")
    assert (masters / "padim.masters.json").read_bytes() == before
    assert adcli("calibrate", padim, "--threshold", "5").code == 0
    assert adcli("verify", padim, "--data", masters, "--record", "--force").code == 0
    assert adcli("verify", padim, "--data", masters, "-q").out == ""


def test_unreadable_masters_are_not_recorded(masters: Path, padim: Path, adcli: Adcli) -> None:
    (masters / "half.png").write_bytes(b"\x89PNG\r\n")
    assert_one_line(adcli("verify", padim, "--data", masters, "--record"), 4, "half.png", "replace it")
    assert list(masters.glob("*.json")) == []


def test_masters_that_tell_little_are_warned_of(masters: Path, padim: Path, adcli: Adcli) -> None:
    score = next(pipeline.predict(pipeline.load(padim), [masters / "good-1.ppm"])).score
    assert adcli("calibrate", padim, "--threshold", repr(score)).code == 0
    outcome = adcli("verify", padim, "--data", masters, "--record", "-q")
    assert "warning: padim: good-1.ppm is so close to the threshold" in outcome.err
    for path in masters.glob("scratch-*"):
        path.unlink()
    again = adcli("verify", padim, "--data", masters, "--record", "--force")
    assert "every master image is found good" in again.err


SPOILED: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "edited": lambda stored: stored | {"name": "x"},
    "no object": lambda stored: [stored],
    "newer": lambda stored: sealed(stored | {"format": 99}),
    "format in words": lambda stored: sealed(stored | {"format": "1"}),
    "score in words": lambda stored: sealed(stored | {"images": [{**stored["images"][0], "score": "high"}]}),
    "twice": lambda stored: sealed(stored | {"images": stored["images"] * 2}),
    "no scale": lambda stored: sealed(stored | {"scales": {}}),
    "no range": lambda stored: sealed(stored | {"scales": {"": {"range": 0.0, "rounding": 0.0}}}),
    "unknown zone": lambda stored: sealed(stored | {"images": [{**stored["images"][0], "zone_scores": {"left": 1.0}}]}),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_masters_file_that_cannot_be_trusted_is_one_line(how: str, masters: Path, padim: Path, adcli: Adcli) -> None:
    record(adcli, masters, padim)
    path = masters / "padim.masters.json"
    path.write_text(json.dumps(SPOILED[how](json.loads(path.read_text()))))
    assert_one_line(adcli("verify", padim, "--data", masters), 4, "padim.masters.json")


def test_what_a_newer_version_notes_besides_is_no_fault(masters: Path, padim: Path, adcli: Adcli) -> None:
    record(adcli, masters, padim)
    path = masters / "padim.masters.json"
    stored = json.loads(path.read_text())
    stored["subject"]["lens"] = "50 mm"
    stored["subject"]["framing"]["turn"] = 90
    stored["images"][0]["peak"] = 1.0
    path.write_text(json.dumps(sealed(stored | {"comment": "x"})))
    assert found(adcli, masters, padim, 0)["differences"] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--force",), "--force goes with --record"),
        (("--record", "--tolerance", "1"), "--tolerance is for comparing"),
        (("--tolerance", "x"), "--tolerance must be a number"),
        (("--tolerance", "nan"), "--tolerance must be a number"),
        (("--tolerance=-1",), "--tolerance must be a number"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: tuple[str, ...], words: str, masters: Path, padim: Path, adcli: Adcli
) -> None:
    assert_one_line(adcli("verify", padim, "--data", masters, *options), 2, words)


# Many


def test_one_that_fails_stops_no_other(masters: Path, padim: Path, zones: Path, openvino: Path, adcli: Adcli) -> None:
    record(adcli, masters, padim, zones, openvino)
    (openvino / "manifest.yaml").write_text("x: 1\n")
    outcome = adcli("verify", "nowhere", padim, openvino, zones, "--data", masters)
    assert_one_line(outcome, 5, "2 of 4 failed", "nowhere")
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["failed", "equal", "failed", "equal"]
    assert "4 in all: 2 failed, 2 equal" in outcome.err
    assert adcli("calibrate", zones, "--threshold", "1e9").code == 0
    changed = adcli("verify", "nowhere", padim, openvino, zones, "--data", masters, "--json")
    assert changed.code == 3
    assert [one["state"] for one in json.loads(changed.out)] == ["failed", "equal", "failed", "changed"]
    assert [one.get("exit_code") for one in json.loads(changed.out)] == [5, None, 10, None]


@pytest.mark.parametrize("folder", ["line3", "exports"])
def test_two_of_one_name_are_not_recorded_over_each_other(
    folder: str, masters: Path, openvino: Path, tmp_path: Path, adcli: Adcli
) -> None:
    several = [shutil.copytree(openvino, tmp_path / place / folder / "cap") for place in ("a", "b")]
    outcome = adcli("verify", *several, "--data", masters, "--record", "--force")
    assert_one_line(outcome, 2, "two RUNs are called 'cap'", "--name")
    assert list(masters.glob("*.json")) == []


def test_names_that_are_no_text_are_recorded(masters: Path, padim: Path, adcli: Adcli) -> None:
    (masters / "good-1.ppm").rename(masters / "Gr\udcfcn.ppm")
    record(adcli, masters, padim)
    assert found(adcli, masters, padim, 0)["images"] == 4


PEAK = """
import resource, sys
from adcli.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
assert "torch" not in sys.modules
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are measured in Linux's units")
def test_many_exports_take_no_more_memory_than_few(masters: Path, openvino: Path, onnx: Path, adcli: Adcli) -> None:
    many = [
        shutil.copytree(source, Path("exports") / f"{source.name}-{number}")
        for number in range(30)
        for source in (openvino, onnx)
    ]
    record(adcli, masters, *many)
    few, all_of_them = (peak(masters, many[:count]) for count in (4, len(many)))
    assert all_of_them - few < 25, (few, all_of_them)


def peak(masters: Path, runs: list[Path]) -> int:
    """Return the megabytes that verifying takes in a process of its own."""
    command = [sys.executable, "-c", PEAK, "verify", *map(str, runs), "--data", str(masters), "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


# Python


def test_python_has_the_same(masters: Path, padim: Path) -> None:
    run = pipeline.load(padim)
    file = pipeline.record_masters(run, masters)
    assert file == masters / "padim.masters.json"
    said = pipeline.verify(run, masters)
    assert (said.is_equal, said.is_complete, said.images) == (True, True, 4)
    assert said.largest is not None
    assert said.largest.difference == 0
    stored = json.loads(file.read_text())
    digests = {one["image"]: one["digest"] for one in stored["images"]}
    assert digests["good-1.ppm"] == hashlib.sha256((masters / "good-1.ppm").read_bytes()).hexdigest()
    plain = json.loads(json.dumps(framing.PLAIN.describe((32, 32))))
    assert stored["subject"]["framing"] == {name: value for name, value in plain.items() if name != "image_size"}
