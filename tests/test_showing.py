"""Objects show themselves: one line each, HTML for notebooks, and tables of pandas."""

import builtins
import csv
import gc
import os
import shutil
import sys
import weakref
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import write_parts

from adcli import AdcliError, DataError, PluginError, pipeline
from adcli.data import Photograph, Sample, Splits, Unreadable
from adcli.data.framing import PLAIN, Framing, parse_framing
from adcli.metrics import chance
from adcli.pictures.cards import Picture
from adcli.pipeline import _evaluation_pass
from adcli.pipeline._bench import Latency
from adcli.pipeline._drift import Unit
from adcli.pipeline._verify import ChangedVerdict, Difference, LargestDifference
from adcli.report.gallery import Shown
from adcli.scoring import Calibration, Origin, Prediction, Region, Step, VerdictRecord
from adcli.scoring.detection import Count, Detection, Draw, Drawn, Missed, Real
from adcli.scoring.repeats import Agreement, Repeated
from adcli.sweeps.cells import Cell
from adcli.sweeps.results import Outcome
from adcli.sweeps.summary import Line

LONGEST = 120

NAMES = {
    "usual": "parts/a.png",
    "long": "parts/" + "x" * 100_000 + "/the-end.png",
    "lines": "a\nb\r\x1b[31m\u2028c.png",
    "markup": '<script>alert("1")</script>&amp;\'".png',
    "bytes": "caf\udce9.png",
    "backwards": "\u202egnp.exe",
    "nothing": "",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Trained:
    """A run and its evaluation; read only."""
    root = tmp_path_factory.mktemp("finished")
    data = write_parts(root / "parts", train=12, good=3, defective=3)
    options = {"backbone": "random:resnet18", "layers": "1"}
    settings = pipeline.TrainSettings(model="padim", data=str(data), image_size="32", options=options)
    return pipeline.train(settings, out=root / "run")


@pytest.fixture(scope="module")
def images(finished: pipeline.Trained) -> list[Path]:
    assert finished.evaluation is not None
    return [item.sample.image for item in finished.evaluation.tested]


def make_calibration() -> Calibration:
    return Calibration.conformal(np.linspace(0, 1, 30), np.linspace(0, 1, 30), 0.05, "held-out")


def make_prediction(name: str = "a.png", framing: Framing = PLAIN) -> Prediction:
    """Return a prediction of a defect that still has its pixels, (40, 80)."""
    photograph = Photograph(name, np.full((40, 80, 3), 90, np.uint8), "0" * 64)
    model_map = np.linspace(0, 2, 64, dtype=np.float32).reshape(8, 8)
    return Prediction(photograph, 2.0, model_map, make_calibration(), framing, Origin(name, "f" * 64))


def make_all(name: str) -> Iterator[Any]:
    """Yield an object of each class that the pipeline returns, with a name wherever there is one."""
    path, calibration, problem = Path(name), make_calibration(), AdcliError(name)
    run = pipeline.Run(path, {"model": name, "data": name}, {}, calibration)
    sample = Sample(path, "defect", None, name, name)
    metrics = {"image": {"auroc": 0.5, "n_good": 2, "n_defect": 2}, "pixel": {"auroc": 0.5}}
    prediction = make_prediction(name)
    shown = Shown(sample, prediction, Picture(9, 9, "data:image/webp;base64,", None, "M0 0h1v1z", ""))
    evaluation = pipeline.Evaluation([_evaluation_pass.Tested(sample, prediction)], metrics, [shown])
    yield from (run, evaluation, pipeline.Trained(run, evaluation), pipeline.Trained(run, None, problem))
    yield pipeline.Export(path, {"exporter": name}, calibration)
    standing = pipeline.Standing(run, 0.9, 0.1, (-0.1, 0.2), 0.9)
    yield pipeline.Standings([standing] * 40, 1, 2, 3)
    result = pipeline.CategoryResult(name, 1.0, run, metrics, problem)
    yield pipeline.TrainedCategories(name, [result] * 40, [name] * 40)
    drawn = [Drawn(Draw("scratch", 12.0, 3, 0), 1, (0, 0), (1, 1), (0.1, 0.1), 1.0, found) for found in (True, False)]
    counts = (Count(3, 20, 20),) * 200
    detections = [Detection("scratch", 12.0, smallest, counts, counts) for smallest in (3, None)]
    agreement = Agreement(1.0, (Repeated(name, (1.0,) * 300),))
    missed = [Missed(name, (Real(True, None),) * 300)]
    yield pipeline.Qualification({}, detections, drawn * 300, missed, agreement)
    changed = [ChangedVerdict(name, "good", "defect", 0.1, None, name)]
    differences = [Difference(name, name, {"before": name})]
    largest = LargestDifference(name, name, 0.1, 0.2, None)
    names = [name] * 300
    yield pipeline.Verification(
        name, path, name, 3, 0.1, changed, largest, names, names, names, names, differences, differences
    )
    steps = [Step(0.5, 1.0, 100.0)]
    yield pipeline.Drifting([Unit(name, 1.0, path)], steps, calibration, [1.0] * 300, 10.0, name, {name: 3})
    yield pipeline.Timings(3, 2, 1.0, 1.0, Latency(1 / 3, 1 / 3), Latency(1 / 3, 1 / 3), 10.0, 1 / 3)
    finding = pipeline.Finding("duplicate", path, name)
    yield pipeline.Inspection(name, name, {}, findings=[finding] * 300)
    yield pipeline.KeptCalibration(calibration, name, name, name, {name: 2})
    yield pipeline.DescribedBackbone(name, name, name, 4, "stage", (4.0,) * 300, (64,) * 300, ())
    yield pipeline.Predictions([], name)
    settings = pipeline.TrainSettings(model=name, data=name)
    yield settings
    cell = Cell(name, {"model": name, "option.rank": 3}, settings)
    failed = Outcome(cell, error=name)
    yield pipeline.SweepResults(path, [Outcome(cell, path, {"image.auroc": 1 / 3}, {"fit": 1 / 3}), failed] * 40)
    mean = pipeline.Mean(1 / 3, 1 / 3, 2, name, 3, 300)
    yield pipeline.Summary([name] * 40, [name] * 40, [name], [Line((name,) * 40, {name: mean})] * 40, [name])
    contrast = pipeline.Contrast((name,) * 40, 1 / 3, chance.Difference(1 / 3, (0.0, 1.0)), None, 0.5, None)
    yield pipeline.Comparison([name], name, (name,) * 40, 1 / 3, True, [contrast] * 40, 1, 2, 3, 4, [name])
    yield pipeline.SweepPlan(path, [cell] * 40, [cell], [cell], 100 / 3, [name] * 40)
    yield from (pipeline.Task(name, name, {}, name), pipeline.TaskOutcome(name, "failed", 1.0, name))
    yield pipeline.ExecutorRequest(settings, 40)
    yield from (Splits([sample] * 300), Unreadable(name, name), Photograph(name, np.zeros((9, 9, 3), np.uint8), ""))
    yield from (VerdictRecord.of(make_prediction(name)), parse_framing("0,0,40,40", "16x16", "letterbox", None, "255"))


def reachable(roots: Iterable[Any]) -> dict[int, Any]:
    """Return the objects of our classes that others lead to, and a few of each of their lists."""
    found: dict[int, Any] = {}
    waiting = list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) in found:
            continue
        if type(one).__module__.split(".")[0] == "adcli" and not isinstance(one, Exception):
            found[id(one)] = one
            waiting += vars(one).values() if hasattr(one, "__dict__") else []
        if isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, (list, tuple)):
            waiting += one[:5]
    return found


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_object_is_one_short_line_whatever_it_is_called(name: str) -> None:
    objects = reachable(make_all(name))
    classes = {type(one).__name__ for one in objects.values()}
    public = {public for public in pipeline.__all__ if isinstance(getattr(pipeline, public), type)}
    assert public <= classes, "make_all lacks some"
    for one in objects.values():
        line = repr(one)
        assert line.isprintable(), line[:LONGEST]
        assert len(line) <= LONGEST, line[:LONGEST]
        assert type(one).__name__ in line


def test_what_a_training_returns_is_short_as_deep_as_one_looks(finished: pipeline.Trained, images: list[Path]) -> None:
    scorer = pipeline.open_scorer(finished.run)
    kept = list(pipeline.predict(scorer, images))
    objects = reachable([finished, kept, pipeline.calibrations(finished.run), scorer.calibration, scorer.origin])
    assert {"Run", "Evaluation", "Tested", "Shown", "Picture", "Calibration", "Framing"} <= {
        type(one).__name__ for one in objects.values()
    }
    assert max(len(repr(one)) for one in [*objects.values(), scorer]) <= LONGEST
    assert "image AUROC" in repr(finished)
    assert "padim" in repr(finished)


def test_a_line_reads_no_file_and_computes_no_map(
    finished: pipeline.Trained, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = list(pipeline.predict(finished.run, images))

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("a file is touched")

    with monkeypatch.context() as patch:
        for module, name in ((builtins, "open"), (os, "open"), (os, "stat"), (os, "lstat"), (os, "getcwd")):
            patch.setattr(module, name, refuse)
        lines = [repr(finished), repr(finished.run), repr(finished.evaluation), *map(repr, kept)]
    assert all(lines)
    assert not any({"map", "marked", "regions"} & {*vars(prediction)} for prediction in kept)


def test_a_run_whose_folder_is_gone_shows_itself(finished: pipeline.Trained, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished.run.path, tmp_path / "copy"))
    run = pipeline.load(str(copy))
    assert 'href="file://' in run._repr_html_()
    assert "AUROC" in run._repr_html_()
    (copy / "metrics.json").write_text("{")
    assert "metrics.json" in run._repr_html_()
    shutil.rmtree(copy)
    assert "copy" in repr(run)
    assert "href" not in run._repr_html_()


class _Reader(HTMLParser):
    """Notes the tags, attributes and texts of HTML, and that each tag is closed."""

    EMPTY = ("img",)

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def close(self) -> None:
        super().close()
        assert not self._open


def read_html(html: str) -> _Reader:
    """Read HTML; it has to be well formed, to be text that a file can hold, and to ask nobody for anything."""
    html.encode()
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert {*reader.tags} <= {"div", "table", "thead", "tr", "th", "td", "img", "a"}
    for name, value in reader.attributes:
        assert name in ("style", "src", "alt", "href")
        assert name != "src" or value.startswith("data:image/")
        # The page's own colours are read in light and in dark.
        assert name != "style" or ("color" not in value and "background" not in value)
    return reader


SHOWN = (
    pipeline.Run,
    pipeline.Trained,
    pipeline.Evaluation,
    pipeline.Standings,
    pipeline.TrainedCategories,
    pipeline.Qualification,
    pipeline.Prediction,
    pipeline.SweepResults,
)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_html_is_escaped_and_complete_whatever_a_thing_is_called(name: str) -> None:
    shown = [one for one in reachable(make_all(name)).values() if hasattr(one, "_repr_html_")]
    assert {type(one) for one in shown} == {*SHOWN}
    for one in shown:
        read_html(one._repr_html_())


def test_an_evaluation_and_a_training_show_metrics_and_pictures(finished: pipeline.Trained) -> None:
    for one in (finished, finished.evaluation):
        html = one._repr_html_()  # type: ignore[union-attr]
        assert read_html(html).tags.count("img") == 6
        assert "AUROC" in read_html(html).text
        assert len(html) < 300_000


@pytest.mark.parametrize("framing", [PLAIN, parse_framing("8,8,24,24", None, "letterbox", None, "255")])
def test_a_prediction_shows_its_photograph_and_map_and_without_pixels_its_map(framing: Framing) -> None:
    prediction = make_prediction("part-7.png", framing)
    whole = read_html(prediction._repr_html_())
    assert whole.tags.count("img") == 2
    for words in ("part-7.png", "defect", "score 2", "p-value 0.0323", "1 region"):
        assert words in whole.text
    prediction.release()
    alone = read_html(prediction._repr_html_())
    assert alone.tags.count("img") == 1
    assert "let go" in alone.text
    assert "map alone" in alone.text
    prediction.forget_map()
    nothing = read_html(prediction._repr_html_())
    assert nothing.tags.count("img") == 0
    assert "map alone" not in nothing.text
    assert len(prediction._repr_html_()) < 1000


def test_a_model_that_only_classifies_shows_the_photograph_alone() -> None:
    prediction = make_prediction()
    prediction.model_map = None
    assert read_html(prediction._repr_html_()).tags.count("img") == 1
    prediction.release()
    assert "img" not in read_html(prediction._repr_html_()).tags


def test_an_evaluation_of_images_without_labels_has_no_metrics_and_shows_itself() -> None:
    evaluation = pipeline.Evaluation([], {})
    assert repr(evaluation) == "<Evaluation: 0 images>"
    assert "0 images" in read_html(evaluation._repr_html_()).text


def test_a_photograph_that_was_changed_since_says_so() -> None:
    def fail() -> Photograph:
        raise DataError("a.png: was changed after it was read; read it again.")

    photograph = Photograph("a.png", np.zeros((9, 9, 3), np.uint8), "", rest=fail)
    prediction = Prediction(photograph, 2.0, np.ones((8, 8), np.float32), make_calibration(), PLAIN)
    assert "was changed" in read_html(prediction._repr_html_()).text


def test_what_cannot_be_read_says_why(finished: pipeline.Trained, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    (prediction,) = pipeline.predict(finished.run, tmp_path / "broken.png")
    assert "unreadable" in repr(prediction)
    assert prediction.problem in read_html(prediction._repr_html_()).text


def test_predictions_are_given_once_and_counted(finished: pipeline.Trained, images: list[Path]) -> None:
    predictions = pipeline.predict(finished.run, images)
    assert iter(predictions) is predictions
    first = next(predictions)
    assert first.photograph.size == (64, 64)
    assert "1 prediction taken" in repr(predictions)
    with pytest.raises(ValueError, match=r"^1 were taken before, .*$"):
        predictions.to_pandas()
    predictions.close()
    assert list(predictions) == []


def test_without_pandas_one_line_says_what_to_install(
    finished: pipeline.Trained, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    standings = pipeline.Standings([pipeline.Standing(finished.run, 0.9, 0.0, (0.0, 0.0), 0.9)], 1, 1, 0)
    categories = pipeline.TrainedCategories("set", [])
    for one in (pipeline.predict(finished.run, images), finished.evaluation, standings, categories):
        with pytest.raises(PluginError, match=r"^this needs the package 'pandas': pip install pandas$"):
            one.to_pandas()  # type: ignore[union-attr]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


TEXTS = ("image", "part", "zone", "category", "run", "model", "calibration", "verdict", "picture", "problem")


def test_the_table_of_an_evaluation_is_that_of_its_file(finished: pipeline.Trained) -> None:
    pytest.importorskip("pandas")
    assert finished.evaluation is not None
    table, rows = finished.evaluation.to_pandas(), read_rows(finished.run.path / "scores.csv")
    assert [*table.columns] == [name for name in rows[0] if name != "format"]
    for name in (*TEXTS, "label", "defect"):
        assert [*table[name]] == [row[name] for row in rows]
        assert table[name].dtype == "string"
    for name in ("score", "p_value", "threshold"):
        assert [*table[name]] == [float(row[name]) for row in rows]
    assert str(table["time"].dtype) == "datetime64[ns, UTC]"
    assert [time.isoformat(timespec="milliseconds") for time in table["time"]] == [
        row["time"].replace("Z", "+00:00") for row in rows
    ]
    assert [*table["regions"]] == [len([*filter(None, row["regions"].split("; "))]) for row in rows]


def test_the_table_of_predictions_holds_what_cannot_be_read_and_odd_names(
    finished: pipeline.Trained, images: list[Path], tmp_path: Path
) -> None:
    pandas = pytest.importorskip("pandas")
    predictions = pipeline.predict(finished.run, [images[0], tmp_path / "gone.png"])
    table = pipeline.Predictions([*predictions, make_prediction("caf\udce9.png")]).to_pandas()
    assert [*table["verdict"]][1:] == ["unreadable", "defect"]
    assert [*table["score"].isna()] == [False, True, False]
    assert table["image"][2] == r"caf\udce9.png"
    empty = pipeline.predict(finished.run, []).to_pandas()
    assert len(empty) == 0
    pandas.testing.assert_series_equal(empty.dtypes, table.dtypes)


@pytest.mark.thorough
def test_a_table_keeps_no_prediction() -> None:
    pytest.importorskip("pandas")
    given: list[weakref.ref[Prediction]] = []

    def give() -> Iterator[Prediction]:
        for number in range(20):
            prediction = make_prediction(f"{number}.png")
            given.append(weakref.ref(prediction))
            yield prediction
            del prediction
            gc.collect()
            assert sum(one() is not None for one in given) <= 2

    assert len(pipeline.Predictions(give()).to_pandas()) == 20


def test_comparisons_and_categories_are_tables(finished: pipeline.Trained) -> None:
    pytest.importorskip("pandas")
    standings = pipeline.compare_runs([finished.run, finished.run]).to_pandas()
    assert [*standings["run"]] == [str(finished.run.path)] * 2
    assert [*standings["shown"]] == [False, False]
    failed = pipeline.CategoryResult("lid", 2.0, error=AdcliError("no images."))
    assert finished.evaluation is not None
    found = pipeline.CategoryResult("bottle", 1.0, finished.run, finished.evaluation.metrics)
    table = pipeline.TrainedCategories("set", [found, failed]).to_pandas()
    assert [*table["error"]] == ["", "no images."]
    assert table["image_auroc"][0] == finished.evaluation.metrics["image"]["auroc"]
    assert np.isnan(table["image_auroc"][1])


def test_a_metric_without_numbers_per_image_has_no_interval(finished: pipeline.Trained) -> None:
    standings = pipeline.compare_runs([finished.run, finished.run], metric="pixel.auroc")
    assert "chance" not in repr(standings.standings[1])
    html = read_html(standings._repr_html_())
    assert "chance" not in html.text
    assert "pixel" in html.text
    pytest.importorskip("pandas")
    assert [*standings.to_pandas()["lower"].isna()] == [True, True]


def test_a_sweep_is_a_long_table(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    cells = [
        Cell(
            name,
            {"model": name, "data": "parts", "category": None, "seed": 0, **more},
            pipeline.TrainSettings(model=name),
        )
        for name, more in (("padim", {"option.rank": 3}), ("dfm", {}))
    ]
    outcomes = [Outcome(cells[0], tmp_path, {"image.auroc": 0.5}, {"fit": 2.0}), Outcome(cells[1], error="no room")]
    table = pipeline.SweepResults(tmp_path, outcomes).to_pandas()
    assert [*table.columns] == ["run", "model", "data", "category", "seed", "option.rank", "metric", "value", "error"]
    assert [*table["option.rank"]] == ["3", "3", ""]
    assert [*table["metric"]] == ["image.auroc", "seconds.fit", ""]
    assert [*table["value"][:2]] == [0.5, 2.0]
    assert [*table["error"]] == ["", "", "no room"]


def test_regions_are_named_by_their_sides() -> None:
    assert repr(Region(1, 2, 3, 4, 5, 0.5)) == "Region(x=1, y=2, width=3, height=4, area=5, peak=0.5)"
