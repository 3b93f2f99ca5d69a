"""Grids: which runs lists of values stand for."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from adcli.errors import OptionError, RunError
from adcli.runs.settings import TrainSettings
from adcli.sweeps.cells import Cell, tell_apart
from adcli.sweeps.data import FoundData
from adcli.sweeps.files import read_sweep_file
from adcli.sweeps.folder import list_runs, read_cells
from adcli.sweeps.grids import expand, parse_grid, split_references

DEMO = FoundData("demo", "", None, {})


def list_cells(data: list[FoundData] | None = None, **values: Any) -> list[Cell]:
    return expand(parse_grid({"model": "padim", **values}), data or [DEMO])


def column(cells: list[Cell], factor: str) -> list[Any]:
    return [cell.factors.get(factor) for cell in cells]


def test_there_is_a_run_for_each_combination() -> None:
    data = [FoundData("mvtec_ad", name, f"mvtec_ad:{name}", {}) for name in ("bottle", "cable")]
    cells = list_cells(data, model="padim,dfm", seed="0..2", image_size="64,128")
    found = {(*map(cell.factors.get, ("model", "category", "seed", "image_size")),) for cell in cells}
    expected = itertools.product(("padim", "dfm"), ("bottle", "cable"), range(3), ("64", "128"))
    assert found == set(expected)
    assert len({cell.name for cell in cells}) == len(cells) == 24
    # All of one seed come before those of the next, so that a sweep that is stopped has a whole table.
    assert column(cells, "seed") == sorted(column(cells, "seed"))


@pytest.mark.parametrize(
    ("text", "seeds"), [("0..3", [0, 1, 2, 3]), ("7", [7]), ("0,5", [0, 5]), ("1..2,9", [1, 2, 9]), ("3,3", [3])]
)
def test_seeds_are_numbers_or_ranges(text: str, seeds: list[int]) -> None:
    assert column(list_cells(seed=text), "seed") == seeds


@pytest.mark.parametrize("text", ["", "4..1", "a", "-1", "0,,1", "1.5", "0..9999999"])
def test_what_is_no_seed_is_refused(text: str) -> None:
    with pytest.raises(OptionError) as caught:
        list_cells(seed=text)
    assert caught.value.option == "seed"


def test_an_option_given_twice_makes_two_runs_and_one_that_takes_a_list_keeps_it() -> None:
    typed = list_cells(model="patchcore", options={"coreset": ["0.01", "0.1"], "layers": ["2,3"]})
    read = list_cells(model="patchcore", options={"coreset": [0.01, 0.1], "layers": [2, 3]})
    assert column(typed, "option.coreset") == [0.01, 0.1]
    assert column(typed, "option.layers") == ["2,3"] * 2
    assert [cell.name for cell in typed] == [cell.name for cell in read]
    several = list_cells(model="patchcore", options={"layers": [[2, 3], [1, 2, 3]]})
    skip = [{"option.layers": [[2, 3]]}]
    rest = list_cells(model="patchcore", options={"layers": [[2, 3], [1, 2, 3]]}, skip=skip)
    assert column(rest, "option.layers") == ["1,2,3"]
    assert column(several, "option.layers") == ["2,3", "1,2,3"]
    assert [cell.settings.options for cell in several] == [{"layers": [2, 3]}, {"layers": [1, 2, 3]}]


def test_a_plus_joins_backbones_and_their_layers_and_a_comma_separates_runs() -> None:
    typed = list_cells(model="patchcore", backbone="embedded, embedded+random:resnet18", options={"layers": ["2,3+3"]})
    assert column(typed, "backbone") == ["embedded", "embedded+random:resnet18"]
    assert column(typed, "option.layers") == ["2,3+3"] * 2
    assert typed[1].settings.options == {"backbone": "embedded+random:resnet18", "layers": "2,3+3"}
    read = list_cells(model="patchcore", backbone="embedded+random:resnet18", options={"layers": [[[2, 3], [3]]]})
    assert [cell.name for cell in read] == [typed[1].name]


def test_an_option_is_for_the_models_that_have_it_or_for_one_that_is_named() -> None:
    cells = list_cells(model="patchcore,padim,ganomaly", backbone="embedded", options={"patchcore.coreset": ["0.5"]})
    assert column(cells, "option.coreset") == [0.5, None, None]
    assert column(cells, "backbone") == ["embedded", "embedded", None]
    assert "backbone" not in cells[2].settings.options


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"coreste": ["1"]}, "coreset"),
        ({"dfm.coreset": ["1"]}, "dfm"),
        ({"padim.coreset": ["1"]}, "no option"),
        ({"coreset": ["2"]}, "at most"),
    ],
)
def test_an_option_of_no_model_is_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(OptionError, match=word):
        list_cells(model="patchcore,padim", options=options)


def test_equal_runs_are_one_run() -> None:
    cells = list_cells(model="ganomaly,padim", backbone="embedded,random:resnet18")
    assert column(cells, "model") == ["ganomaly", "padim", "padim"]


def test_the_name_of_a_run_follows_from_what_decides_its_results() -> None:
    def name(**values: Any) -> str:
        (cell,) = list_cells(**values)
        return cell.name

    assert name() == name(workers=7, device="cpu", cache=1)
    changed = [name(seed=1), name(image_size=64), name(options={"dimensions": [50]}), name(shots=4), name()]
    assert len(set(changed)) == len(changed)


def test_runs_can_be_skipped_and_set_apart() -> None:
    cells = list_cells(
        model="padim,dfm",
        image_size=["64", "128"],
        skip=[{"model": "dfm", "image_size": 128}],
        set=[{"where": {"model": "padim", "image_size": ["64", "128"]}, "batch_size": 4, "options": {"sigma": 2}}],
    )
    assert [(cell.settings.model, cell.settings.image_size) for cell in cells] == [
        ("padim", "64"),
        ("padim", "128"),
        ("dfm", "64"),
    ]
    assert [cell.settings.batch_size for cell in cells] == [4, 4, None]
    assert [cell.settings.options for cell in cells] == [{"sigma": 2.0}, {"sigma": 2.0}, {}]


def test_what_matches_no_run_is_said() -> None:
    where = {"model": "padim", "option.sigma": [2, 3]}
    grid = parse_grid(
        {
            "model": "padim,dfm",
            "skip": [{"model": "dfm"}, {"category": "botle"}],
            "set": [{"where": {"model": "padim"}, "batch_size": 4}, {"where": where, "batch_size": 4}],
        }
    )
    notes: list[str] = []
    expand(grid, [DEMO], notes.append)
    assert notes == ["skip: no run has category: botle", "set: no run has model: padim, option.sigma: 2 or 3"]


@pytest.mark.parametrize(
    "values",
    [
        {"modle": "padim"},
        {"set": [{"batch_size": 3}]},
        {"set": [{"where": {"model": "padim"}, "seed": 3}]},
        {"skip": [{"modle": "padim"}]},
        {"skip": "padim"},
        {"options": ["sigma"]},
        {"model": "pdim"},
        {"model": ""},
        {"options": {"backbone": ["embedded"]}, "backbone": "embedded"},
        {"model": [["padim", "dfm"]]},
        {"seed": {"first": 0}},
        {"options": 5},
        {"set": [{"where": {"model": "padim"}, "options": 5}]},
        {"set": [{"where": {"model": "padim"}, "data_options": {"root": "x"}}]},
    ],
)
def test_what_is_no_grid_is_refused_with_a_line(values: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        list_cells(**values)


def test_commas_separate_references_but_not_the_categories_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert split_references("mvtec_ad:bottle,cable,photos,visa:pcb1,fryum") == [
        "mvtec_ad:bottle,cable",
        "photos",
        "visa:pcb1,fryum",
    ]
    assert split_references("a,b") == ["a", "b"]
    Path("a,b").mkdir()
    assert split_references("a,b") == ["a,b"]


def test_values_are_the_same_however_they_are_spelt() -> None:
    cells = list_cells(image_size=[32, "32", "32x32", "32X32", "64x32", "auto"])
    assert column(cells, "image_size") == ["32", "64x32", "auto"]
    assert column(list_cells(seed=range(3)), "seed") == column(list_cells(seed="0..2"), "seed") == [0, 1, 2]
    assert parse_grid({"data": 7}).axes["data"] == ["7"]
    assert column(list_cells(image_size="32,64", skip=[{"image_size": "32x32"}]), "image_size") == ["64"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("/x/p", "/y/p"), ["x/p", "y/p"]),
        (("/x/q/p", "/y/q/p", "/x/r/p"), ["x/q/p", "y/q/p", "x/r/p"]),
        (("/p", "/y/p"), ["/p", "y/p"]),
        (("table:/x/p", "/x/p"), ["table:/x/p", "/x/p"]),
    ],
)
def test_data_of_one_name_are_called_by_more_of_their_paths(paths: tuple[str, ...], names: list[str]) -> None:
    cells = list_cells([FoundData("p", "", path, {}) for path in paths], model="padim,dfm")
    assert column(tell_apart(cells), "data") == [name for name in names for _ in range(2)]
    # Others keep their names.
    other = list_cells([FoundData("other", "", "/z/other", {})])
    assert column(tell_apart([*cells, *other]), "data")[-1] == "other"


def test_names_of_data_are_the_same_whenever_they_came(tmp_path: Path) -> None:
    paths = ("/x/p", "/y/p", "/z/x/p", "/w/p")
    cells = [list_cells([FoundData("p", "", path, {})])[0] for path in paths]
    for number in range(len(cells)):
        list_runs(tmp_path / "S", cells[: number + 1])
    assert (
        column(read_cells(tmp_path / "S"), "data")
        == column(tell_apart(cells), "data")
        == ["/x/p", "/y/p", "z/x/p", "/w/p"]
    )


def test_runs_that_no_table_could_tell_apart_are_refused(tmp_path: Path) -> None:
    here, there = ([FoundData("mvtec_ad", "bottle", "mvtec_ad:bottle", {"root": root})] for root in ("/x", "/y"))
    with pytest.raises(OptionError, match="differ in data_options alone"):
        tell_apart([*list_cells(here), *list_cells(there)])
    list_runs(tmp_path / "S", list_cells(here))
    with pytest.raises(OptionError, match="differ in data_options alone"):
        list_runs(tmp_path / "S", list_cells(there))
    assert len(read_cells(tmp_path / "S")) == 1


@pytest.mark.parametrize("spoil", ["twice", "no model", "another seed"])
def test_a_list_of_runs_that_was_edited_is_refused_by_name(tmp_path: Path, spoil: str) -> None:
    list_runs(tmp_path, list_cells())
    content = json.loads((tmp_path / "sweep.json").read_text())
    if spoil == "twice":
        content["runs"] *= 2
    elif spoil == "no model":
        del content["runs"][0]["factors"]["model"]
    else:
        content["runs"][0]["factors"]["seed"] = 7
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"sweep\.json: .*padim-.*--replace"):
        read_cells(tmp_path)


def test_a_sweep_is_read_back_as_it_was_written_and_grows(tmp_path: Path) -> None:
    first = list_cells(seed="0..1", options={"dimensions": [10, 20]}, ignore="mask.png")
    assert list_runs(tmp_path / "S", first) == first
    assert read_cells(tmp_path / "S") == first
    second = list_cells(seed="1..2", options={"dimensions": [10, 20]}, ignore="mask.png")
    grown = list_runs(tmp_path / "S", second)
    assert grown == [*first, *second[2:]]
    assert read_cells(tmp_path / "S") == grown
    assert list_runs(tmp_path / "S", second, replace=True) == second == read_cells(tmp_path / "S")


def test_settings_of_a_run_are_those_that_train_takes(tmp_path: Path) -> None:
    (cell,) = list_cells(model="padim", options={"dimensions": ["50"]}, calibration="none", image_size="64")
    assert cell.settings == TrainSettings(
        model="padim", options={"dimensions": 50}, calibration="none", image_size="64"
    )  # type: ignore[call-arg]
    list_runs(tmp_path, [cell])
    written = json.loads((tmp_path / "sweep.json").read_text())["runs"][0]["settings"]
    assert TrainSettings.parse(written) == cell.settings
    assert written["false_alarm_rate"] == 0.01, "a default that changes later must not change a sweep that is there"


def test_a_file_holds_grids_or_the_settings_of_one(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text("model: [padim, dfm]\nseed: 0..2\n")
    assert read_sweep_file(path).grids == [{"model": ["padim", "dfm"], "seed": "0..2"}]
    path.write_text(
        "grids:\n- {model: padim}\n- {model: dfm, seed: 1}\npublished:\n  source: A paper, table 1\n"
        "  values:\n  - {category: mean, metric: image.auroc, value: 0.9}\n"
    )
    read = read_sweep_file(path)
    assert len(read.grids) == 2
    assert read.published[0].where == {"category": "mean"}
    assert read.published[0].value == 0.9


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[1]", "settings"),
        ("grids: []", "no grids"),
        ("grids: 3", "grids"),
        ("grids: [{}]\nnote: a", "note"),
        ("a: [", "YAML"),
        (
            "grids: [{model: padim}]\npublished: {source: a, values: [{value: 3, metric: image.auroc}]}",
            "value of image.auroc: it is 3",
        ),
        ("grids: [{model: padim}]\npublished: {source: a, values: [{value: 1}]}", "metric"),
    ],
)
def test_a_file_that_holds_none_is_named(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(text)
    with pytest.raises(OptionError, match=word) as caught:
        read_sweep_file(path)
    assert str(path) in caught.value.format_message()
