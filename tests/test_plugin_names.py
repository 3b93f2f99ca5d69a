"""Names that clash, that are disabled, or that are installed twice: explained in one line, with the ways out."""

import json
import shutil
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

import pytest
from plugins_on_disk import MODEL, install, run
from support import THIRD_PARTY, Adcli, assert_one_line

from adcli import _commands
from adcli._plugins import remedies
from adcli._plugins.registry import CORE, Names, registry
from adcli.specs import DatasetSpec, ExporterSpec, ModelSpec

EVERYTHING = """
from adcli import BackboneSpec, DatasetSpec, ExporterSpec, ModelSpec, Options, hookimpl


@hookimpl
def adcli_models():
    return [ModelSpec(name="twin", target="{code}:fail", options=Options, summary="a model")]


@hookimpl
def adcli_datasets():
    return [DatasetSpec(name="twin", target="{code}:splits", options=Options, summary="a data set")]


@hookimpl
def adcli_backbones():
    return [BackboneSpec(name="twin", target="{code}:fail", summary="a backbone")]


@hookimpl
def adcli_exporters():
    return [ExporterSpec(name="twin", target="{code}:fail", runtime="{code}:fail", options=Options, summary="a format")]
"""
CODE = """
from pathlib import Path

from adcli.data import Sample, Splits
from adcli.errors import AdcliError


def fail(*arguments, **options):
    raise AdcliError("{code} was asked")


def splits(options, category):
    good = [Sample(path, "good") for path in sorted(Path({parts!r}).glob("train/good/*.png"))]
    return Splits(good, description="{code} was read")
"""


def install_twins(site: Path, parts: Path) -> None:
    """Install two distributions that offer a model, a data set, a backbone and an exporter of one name each."""
    for distribution in ("adcli-twin-a", "adcli-twin-b"):
        code = f"{distribution.replace('-', '_')}_code"
        install(site, distribution, EVERYTHING.format(code=code), version="1.1")
        (site / f"{code}.py").write_text(CODE.format(code=code, parts=str(parts)))


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("model", ("models", "show", "twin")),
        ("model", ("train", "--model", "twin")),
        ("data set", ("datasets", "show", "twin")),
        ("data set", ("train", "--model", "patchcore", "--backbone", "random:resnet10t", "--data", "twin")),
        ("backbone", ("train", "--model", "patchcore", "--backbone", "twin", "--data", "{parts}")),
        ("exporter", ("exporters", "show", "twin")),
    ],
)
def test_a_clash_names_both_and_both_ways_out(
    kind: str, arguments: tuple[str, ...], parts: Path, tmp_path: Path
) -> None:
    install_twins(tmp_path, parts)
    outcome = run(tmp_path, *(argument.format(parts=parts) for argument in arguments))
    assert_one_line(
        outcome,
        6,
        f"{kind} 'twin' is offered by adcli-twin-a 1.1 and adcli-twin-b 1.1; say which",
        "'adcli-twin-a/twin' or 'adcli-twin-b/twin'",
        "ADCLI_DISABLE=adcli-twin-b",
    )


@pytest.mark.thorough
def test_provider_and_name_choose_everywhere(parts: Path, tmp_path: Path) -> None:
    install_twins(tmp_path / "site", parts)
    trained = run(
        tmp_path / "site",
        *("train", "--model", "mean_image", "--data", "adcli_twin_b/twin", "--image-size", 64, "--json"),
        cwd=tmp_path,
        environment={"PYTHONPATH": f"{tmp_path / 'site'}:{THIRD_PARTY}"},
    )
    assert trained.code == 0, trained.err
    assert "adcli_twin_b_code was read" in trained.err
    (folder,) = (tmp_path / "runs").glob("*-mean_image-twin")
    both = {"PYTHONPATH": f"{tmp_path / 'site'}:{THIRD_PARTY}"}
    asked = run(
        tmp_path, "export", folder, "--to", "adcli-twin-b/twin", "--data", parts, cwd=tmp_path, environment=both
    )
    assert_one_line(asked, 1, "adcli_twin_b_code was asked")
    site = tmp_path / "site"
    asked = run(site, "train", "--model", "adcli-twin-a/twin", "--data", parts, cwd=tmp_path)
    assert_one_line(asked, 6, "'twin' of adcli-twin-a 1.1: adcli_twin_a_code:fail is no Model")
    named = ("--backbone", "adcli-twin-b/twin")
    asked = run(site, "train", "--model", "patchcore", *named, "--data", parts, cwd=tmp_path)
    assert_one_line(asked, 1, "adcli_twin_b_code was asked")
    shown = json.loads(run(site, "models", "show", "adcli-twin-a/twin", "--json").out)
    assert shown["provider"] == "adcli-twin-a 1.1"


def test_models_lists_both_with_their_provider(parts: Path, tmp_path: Path) -> None:
    install_twins(tmp_path, parts)
    listed = json.loads(run(tmp_path, "models", "--json").out)
    assert [model["provider"] for model in listed if model["name"] == "twin"] == [
        "adcli-twin-a 1.1",
        "adcli-twin-b 1.1",
    ]


def test_a_provider_that_does_not_offer_the_name_is_told_from_one_that_does(parts: Path, tmp_path: Path) -> None:
    install_twins(tmp_path, parts)
    outcome = run(tmp_path, "models", "show", "adcli-dfm/twin")
    assert_one_line(outcome, 2, "not offered by 'adcli-dfm', but by adcli-twin-a 1.1 and adcli-twin-b 1.1")


def test_two_distributions_with_one_entry_point_name_work_and_are_one_line(tmp_path: Path) -> None:
    for name in ("first", "second"):
        install(tmp_path, f"adcli-{name}", MODEL.format(model=name, module=name), entry="same")
    listed = run(tmp_path, "models", "--json")
    assert {"first", "second"} <= {model["name"] for model in json.loads(listed.out)}
    (line,) = listed.err.splitlines()
    assert "plugin adcli-second 1.0 is called 'same', as is adcli-first 1.0" in line
    one = run(tmp_path, "models", "--json", environment={"ADCLI_DISABLE": "adcli-first"})
    assert one.err == ""
    assert "first" not in {model["name"] for model in json.loads(one.out)}


def test_two_plugins_of_one_distribution_with_one_model_name_are_told_apart_by_plugin(tmp_path: Path) -> None:
    install(tmp_path, "adcli-pair", MODEL.format(model="twin", module="adcli_pair"))
    (tmp_path / "second.py").write_text(MODEL.format(model="twin", module="second"))
    info = tmp_path / "adcli_pair-1.0.dist-info"
    (info / "entry_points.txt").write_text("[adcli]\none = adcli_pair\ntwo = second\n")
    assert_one_line(run(tmp_path, "models", "show", "twin"), 6, "'one/twin' or 'two/twin'", "ADCLI_DISABLE=two")
    assert run(tmp_path, "models", "show", "two/twin").code == 0


def test_one_module_with_two_names_is_loaded_once(tmp_path: Path) -> None:
    install(tmp_path, "adcli-old-name", MODEL.format(model="twin", module="shared_code"), module="shared_code")
    install(tmp_path, "adcli-this-name", MODEL.format(model="twin", module="shared_code"), module="shared_code")
    listed = run(tmp_path, "models", "--json")
    (line,) = listed.err.splitlines()
    assert "adcli-this-name 1.0 failed: its module 'shared_code' already belongs to adcli-old-name" in line
    assert [model["name"] for model in json.loads(listed.out)].count("twin") == 1


def test_stale_metadata_are_one_line_and_the_newest_counts(tmp_path: Path) -> None:
    install(tmp_path, "adcli-stale", MODEL.format(model="fresh", module="adcli_stale"), version="0.10")
    install(tmp_path, "adcli-stale", MODEL.format(model="fresh", module="adcli_stale"), version="0.9")
    listed = run(tmp_path, "models", "--json")
    assert [item["provider"] for item in json.loads(listed.out) if item["name"] == "fresh"] == ["adcli-stale 0.10"]
    (line,) = listed.err.splitlines()
    assert "adcli-stale 0.10 is installed more than once" in line
    assert "also as 0.9; run 'pip uninstall adcli-stale'" in line


def test_a_distribution_in_two_folders_is_the_one_that_is_imported(tmp_path: Path) -> None:
    for folder, version in (("first", "1.0"), ("second", "2.0")):
        install(tmp_path / folder, "adcli-both", MODEL.format(model=folder, module="adcli_both"), version=version)
    listed = run(
        tmp_path / "first",
        "models",
        "--json",
        environment={"PYTHONPATH": f"{tmp_path / 'first'}:{tmp_path / 'second'}"},
    )
    assert listed.err == ""
    ours = [item for item in json.loads(listed.out) if item["provider"].startswith("adcli-both")]
    assert [(item["name"], item["provider"]) for item in ours] == [("first", "adcli-both 1.0")]


def test_damaged_metadata_are_one_line(tmp_path: Path) -> None:
    for name in ("torn", "nameless", "foreign"):
        install(tmp_path, f"adcli-{name}", MODEL.format(model=name, module=f"adcli_{name}"))
    (tmp_path / "adcli_torn-1.0.dist-info/entry_points.txt").write_text("[adcli]\nno equals sign\n")
    (tmp_path / "adcli_nameless-1.0.dist-info/METADATA").unlink()
    (tmp_path / "adcli_foreign-1.0.dist-info/entry_points.txt").write_text("[others]\nno equals sign\n")
    listed = run(tmp_path, "models", "--json")
    assert "patchcore" in {model["name"] for model in json.loads(listed.out)}
    nameless, torn = sorted(listed.err.splitlines())
    assert "its metadata lack a name or a version" in nameless
    assert "adcli-torn 1.0 failed: its entry_points.txt cannot be read" in torn
    assert run(tmp_path, "plugins").code == 0


def disabled(name: str) -> dict[str, str]:
    return {"ADCLI_DISABLE": name}


@pytest.mark.parametrize("name", ["adcli-some-thing", "adcli_some.thing", "some_thing", "Some-Thing"])
def test_disabled_plugins_are_listed_and_not_loaded(name: str, tmp_path: Path) -> None:
    install(tmp_path, "adcli-some-thing", "raise RuntimeError('imported')", entry="some_thing", module="some_code")
    outcome = run(tmp_path, "plugins", "--json", environment=disabled(f"dfm, {name}"))
    assert outcome.err == ""
    states = {plugin["name"]: (plugin["state"], plugin["error"]) for plugin in json.loads(outcome.out)}
    assert states["some_thing"] == ("disabled", None)
    assert states["dfm"] == ("disabled", None)
    (line,) = [
        line for line in run(tmp_path, "plugins", environment=disabled(name)).out.splitlines() if "some_" in line
    ]
    assert line.split("\t")[3] == "disabled"


def test_a_name_that_disables_nothing_gets_a_suggestion(tmp_path: Path) -> None:
    for command in ("plugins", "models"):
        outcome = run(tmp_path, command, "--json", environment=disabled("patchcor,"))
        assert outcome.err == "warning: ADCLI_DISABLE: no plugin named 'patchcor'. Did you mean 'patchcore'?\n"
        json.loads(outcome.out)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "name", "code", "words"),
    [
        (("models", "show", "dfm"), "dfm", 2, "model 'dfm': plugin adcli-dfm"),
        (("models", "show", "adcli_dfm/dfm"), "dfm", 2, "model 'adcli_dfm/dfm': plugin adcli-dfm"),
        (("models", "show", "other"), "dfm", 2, "unknown model 'other'"),
        (("train", "--model", "dfm"), "adcli.DFM", 2, "model 'dfm': plugin adcli-dfm"),
        (
            ("train", "--model", "patchcore", "--data", "dfm"),
            "dfm,adcli-embedded",
            4,
            "data set 'dfm': plugin adcli-dfm",
        ),
        (("exporters", "show", "onnx"), "onnx", 2, "exporter 'onnx': plugin adcli-onnx"),
        (
            ("train", "--model", "dfm", "--backbone", "embedded"),
            "embedded",
            7,
            "backbone 'embedded': plugin adcli-embedded",
        ),
    ],
)
def test_what_a_disabled_plugin_might_offer_is_said_to_be_disabled(
    arguments: tuple[str, ...], name: str, code: int, words: str, tmp_path: Path
) -> None:
    outcome = run(tmp_path, *arguments, environment=disabled(name) | {"HF_HUB_OFFLINE": "1"})
    assert_one_line(outcome, code, words, "is disabled by ADCLI_DISABLE")


@pytest.mark.thorough
def test_a_run_whose_plugin_is_disabled_or_broken_says_so(parts: Path, tmp_path: Path) -> None:
    shutil.copytree(THIRD_PARTY, tmp_path / "site")
    trained = run(
        tmp_path / "site", "train", "--model", "mean_image", "--data", parts, "--image-size", 64, "--out", "run"
    )
    assert trained.code == 0, trained.err
    predict = ("predict", "run", parts / "test")
    outcome = run(tmp_path / "site", *predict, environment=disabled("adcli_mean"))
    assert_one_line(outcome, 6, "was made with adcli-mean 1.2.3, but adcli-mean 1.2.3 is disabled by ADCLI_DISABLE")
    (tmp_path / "site/adcli_mean/__init__.py").write_text("import no_such_module")
    outcome = run(tmp_path / "site", *predict)
    assert_one_line(outcome, 6, "but adcli-mean 1.2.3 failed to load: see 'adcli plugins'")


def test_the_package_of_everything_we_offer_is_among_the_guesses() -> None:
    known = registry()
    for names in (known.models, known.datasets, known.backbones, known.exporters):
        for item in names.offered:
            assert item.plugin.distribution in (CORE, *remedies.guess_packages(names.kind, item.spec.name))


def fail_to_find(name: str) -> Distribution:
    raise PackageNotFoundError(name)


@pytest.mark.parametrize(
    ("spec_type", "name", "words"),
    [
        (ExporterSpec, "foo", "unknown exporter 'foo'. Is adcli-foo installed?"),
        (ModelSpec, "adcli-foo/bar", "unknown model 'adcli-foo/bar'. Is adcli-foo installed?"),
        (DatasetSpec, "foo", "unknown data set 'foo'. Is adcli-datasets or adcli-foo installed?"),
    ],
)
def test_an_unknown_name_asks_for_the_package_that_may_have_it(
    spec_type: type[ModelSpec], name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_commands, "distribution", fail_to_find)
    assert Names(spec_type, []).explain_unknown(name) == words


def test_a_package_that_is_installed_is_not_asked_for() -> None:
    assert "adcli-padim" not in Names(ModelSpec, []).explain_unknown("padim")


def test_a_name_that_is_nearly_right_gets_a_suggestion_and_no_package(adcli: Adcli) -> None:
    outcome = adcli("models", "show", "pathcore")
    assert_one_line(outcome, 2, "Did you mean 'patchcore'?")
    assert "installed" not in outcome.err
