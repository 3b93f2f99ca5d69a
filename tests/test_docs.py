"""What the pages say is so: their code runs, signatures and tables are the code's, and links lead somewhere."""

import dataclasses
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import test_public_api
from support import Outcome, write_parts

from adcli import errors, hookspecs, specs
from adcli.errors import AdcliError
from adcli.options import BackboneOptions

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PLUGINS = DOCS / "plugins"
PAGES = sorted(
    [*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("plugins/*/README.md"), ROOT / "adcli-core/README.md"]
)
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("adcli_")}
SPECS = {
    "adcli_models": specs.ModelSpec,
    "adcli_datasets": specs.DatasetSpec,
    "adcli_backbones": specs.BackboneSpec,
    "adcli_exporters": specs.ExporterSpec,
    "adcli_executors": specs.ExecutorSpec,
}

_FILE = re.compile(r"`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""A block of code, after a sentence that ends with the name of the file that it is."""

_BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def write_files(page: Path, folder: Path) -> list[Path]:
    """Write the files that a page shows into a folder."""
    written = []
    for name, content in _FILE.findall(page.read_text(encoding="utf-8")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        written.append(path)
    assert written, f"{page} shows no file"
    return written


def printed_after(page: Path, command: str) -> str:
    """Return what a page says that a command prints: the block of text after the one with the command."""
    found = re.search(rf"^{re.escape(command)}\n```\n\n```text\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"{page} does not show what '{command}' prints"
    return found[1]


def run(site: Path, cwd: Path, *command: object) -> Outcome:
    """Run a Python module with the packages of a folder installed."""
    search = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": search, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen good images, and a few to test."""
    return write_parts(tmp_path_factory.mktemp("small") / "parts", train=12, good=4, defective=4)


# The tutorial


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's folder, and beside it ``site``, where it is installed."""
    project = tmp_path_factory.mktemp("tutorial") / "adcli-subspace"
    write_files(PLUGINS / "tutorial.md", project)
    (project / "README.md").write_text("# adcli-subspace\n")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(project.parent / "site"), str(project)], check=True)
    return project


@pytest.mark.thorough
def test_the_tutorials_model_is_listed_as_printed(tutorial: Path) -> None:
    shown = run(tutorial.parent / "site", tutorial, "adcli", "models", "show", "subspace")
    assert shown.out == printed_after(PLUGINS / "tutorial.md", "adcli models show subspace")
    refused = run(tutorial.parent / "site", tutorial, "adcli", "train", "--model", "subspace", "-o", "component=64")
    assert refused.err == printed_after(PLUGINS / "tutorial.md", "adcli train --model subspace -o component=64")


def counts(printed: str) -> list[str]:
    """Return how many tests pytest ran, as it prints it at the end."""
    found = re.findall(r"(\d+) passed", printed)
    assert found, printed
    return found


@pytest.mark.thorough
@pytest.mark.slow
def test_the_tutorials_tests_pass(tutorial: Path) -> None:
    outcome = run(tutorial.parent / "site", tutorial, "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert outcome.code == 0, outcome.out
    printed = printed_after(PLUGINS / "tutorial.md", "pytest")
    assert counts(outcome.out) == counts(printed), outcome.out


@pytest.mark.slow
def test_the_tutorials_model_trains_and_finds_defects(tutorial: Path, small: Path, tmp_path: Path) -> None:
    options = ("-o", "components=8", "--backbone", "random:resnet18", "--image-size", 64, "--json")
    trained = run(tutorial.parent / "site", tmp_path, "adcli", "train", "-m", "subspace", "--data", small, *options)
    assert trained.code == 0, trained.err
    outcome = json.loads(trained.out)
    assert outcome["metrics"]["image"]["auroc"] > 0.9
    assert outcome["metrics"]["pixel"]["auroc"] > 0.9


# Hooks


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the example of every hook's page, as an installer would lay it out."""
    folder = tmp_path_factory.mktemp("site")
    for hook in HOOKS:
        module = write_files(PLUGINS / f"{hook}.md", folder)[0].parent.name
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        name = module.replace("_", "-")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[adcli]\n{module.removeprefix('adcli_')} = {module}\n")
    return folder


def test_every_example_is_a_plugin_without_fault(site: Path, tmp_path: Path) -> None:
    listed = run(site, tmp_path, "adcli", "plugins", "--json")
    found = {plugin["distribution"]: plugin["error"] for plugin in json.loads(listed.out)}
    examples = {path.parent.name.replace("_", "-") for path in site.glob("*/__init__.py")}
    assert len(examples) == len(HOOKS)
    assert {name: found[name] for name in examples} == dict.fromkeys(examples)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, small: Path) -> Path:
    """The archive that the page on data sets describes."""
    root = tmp_path_factory.mktemp("archive")
    lines = ["image,split,verdict"]
    for path in sorted(small.rglob("*.png")):
        split, verdict = path.relative_to(small).parts[:2]
        if split != "ground_truth":
            name = f"{split}-{verdict}-{path.name}"
            (root / "bottle").mkdir(exist_ok=True)
            (root / "bottle" / name).write_bytes(path.read_bytes())
            lines.append(f"{name},{split},{verdict}")
    (root / "bottle/verdicts.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.thorough
@pytest.mark.slow
def test_the_examples_of_models_data_sets_exporters_commands_and_finished_runs_do_what_they_say(
    site: Path, archive: Path, tmp_path: Path
) -> None:
    data = ("--data", "line3:bottle", "-d", f"root={archive}")
    trained = run(site, tmp_path, "adcli", "train", "-m", "mean_image", *data, "--image-size", 64, "--json")
    assert trained.code == 0, trained.err
    assert "12 images to train on, 8 to test" in trained.err
    outcome = json.loads(trained.out)
    name, model, threshold, auroc = (tmp_path / "runs/journal.csv").read_text().strip().split(",")
    assert (name, model) == (Path(outcome["run"]).name, "mean_image")
    assert float(threshold) == outcome["threshold"]["image"]
    assert float(auroc) == outcome["metrics"]["image"]["auroc"]
    weighed = run(site, tmp_path, "adcli", "weigh", "last")
    assert "model.safetensors" in weighed.out, weighed
    exported = run(site, tmp_path, "adcli", "export", "last", "--to", "npz", "--json")
    assert exported.code == 0, exported.err
    predicted = run(site, tmp_path, "adcli", "predict", "last/exports/npz", archive, "--json")
    assert len(json.loads(predicted.out)) == 20


@pytest.mark.thorough
def test_the_example_of_data_sets_says_what_is_missing(site: Path, tmp_path: Path) -> None:
    for arguments, code, words in (
        (("line3:bottle",), 2, "-d root=FOLDER"),
        (("line3:lid", "-d", f"root={tmp_path}"), 2, "no category 'lid'"),
        (("line3:bottle", "-d", f"root={tmp_path}"), 4, "verdicts.csv"),
    ):
        outcome = run(site, tmp_path, "adcli", "train", "-m", "mean_image", "--data", *arguments)
        assert (outcome.code, len(outcome.err.splitlines())) == (code, 1), outcome
        assert words in outcome.err


@pytest.mark.thorough
@pytest.mark.slow
def test_the_example_of_backbones_maps_images(site: Path, tmp_path: Path) -> None:
    code = """
import torch
from adcli import AdcliError, BackboneOptions
from adcli.nn.backbones import create_backbone
backbone = create_backbone(BackboneOptions(backbone="edges", layers=(3, 1)))
print([tuple(part.shape) for part in backbone(torch.rand(2, 3, 64, 96))], backbone.strides)
try:
    create_backbone(BackboneOptions(backbone="edges", layers=(4,)))
except AdcliError as error:
    print(error.exit_code, error)
"""
    (tmp_path / "mapped.py").write_text(code)
    lines = run(site, tmp_path, "mapped").out.splitlines()
    assert lines == [
        "[(2, 4, 16, 24), (2, 4, 4, 6)] (4, 16)",
        "7 edges has layers 1 to 3; layer 4 was asked for (-o layers=).",
    ]


SLURM = {
    "sbatch": 'for last; do :; done; sh -c "exec $last" > /dev/null 2>&1 & echo $!',
    "squeue": 'for last; do :; done; for job in $(echo "$last" | tr , " "); do kill -0 "$job" && echo "$job"; done',
    "scancel": 'kill "$@"',
}
"""The commands that the example of executors calls, for jobs that are processes."""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have jobs run on this machine."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, code in SLURM.items():
        (folder / name).write_text(f"#!/bin/sh\n{code}\ntrue\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(sys.platform == "win32", reason="jobs are started by a shell")
@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_the_example_of_executors_keeps_every_rule(site: Path, tmp_path: Path) -> None:
    checked = run(site, tmp_path, "adcli", "plugin", "check", "slurm", "-o", "poll=0.2")
    assert checked.code == 0, checked


@pytest.mark.skipif(sys.platform == "win32", reason="jobs are started by a shell")
@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_the_example_of_executors_says_which_jobs_ended_without_an_outcome(site: Path, tmp_path: Path) -> None:
    (tmp_path / "slurm/sbatch").write_text("#!/bin/sh\necho 4194305\n")
    code = """
from adcli.pipeline import ExecutorRequest, Task
from adcli_slurm import SlurmOptions
from adcli_slurm.executing import execute
print([outcome.problem for outcome in execute([Task("a", "out", {})], ExecutorRequest(SlurmOptions(), 1))])
"""
    (tmp_path / "lost.py").write_text(code)
    assert run(site, tmp_path, "lost").out == "['job 4194305 ended without an outcome: it printed nothing']\n"


FITTED = """
from pathlib import Path
import torch
from adcli.data import ImageSource, items_of
from adcli.nn import Batches
paths = sorted(Path({data!r}).glob("train/good/*.png"))
batches = Batches(items_of(paths), ImageSource((64, 64)), batch_size=4)
def error(model):
    model.fit(batches)
    with torch.inference_mode():
        return float(model(next(iter(batches))).image.mean())
"""
"""Says how badly a model does after fitting good images."""


def trained(code: str, tmp_path: Path, data: Path) -> Outcome:
    """Run code on the examples of training, after :data:`FITTED`."""
    write_files(PLUGINS / "training.md", tmp_path)
    (tmp_path / "trained.py").write_text(FITTED.format(data=str(data)) + code)
    return run(tmp_path, tmp_path, "trained")


@pytest.mark.thorough
@pytest.mark.slow
def test_the_example_of_training_learns(tmp_path: Path, small: Path) -> None:
    code = """
from types import SimpleNamespace
from example_training import Autoencoder
def after(epochs):
    torch.manual_seed(0)
    return error(Autoencoder(SimpleNamespace(epochs=epochs), image_size=(64, 64)))
print(after(10) < 0.5 * after(1))
odd = Autoencoder(SimpleNamespace(epochs=1), image_size=(70, 90)).eval()
print(tuple(odd(torch.rand(2, 3, 70, 90)).map.shape))
"""
    outcome = trained(code, tmp_path, small)
    assert outcome.out == "True\n(2, 1, 70, 90)\n", outcome


@pytest.mark.thorough
@pytest.mark.slow
def test_the_example_of_features_learns_from_maps_computed_once(tmp_path: Path, small: Path) -> None:
    code = """
from example_features import Predictor, PredictorOptions
def after(epochs):
    torch.manual_seed(0)
    model = Predictor(PredictorOptions.parse(dict(backbone="random:resnet18", epochs=epochs)), image_size=(64, 64))
    seen = []
    model.backbone.register_forward_hook(lambda module, given, maps: seen.append(len(given[0])))
    found = error(model)
    # Of the last, the batch that is scored.
    print(sum(seen) - 4 - 1 == len(paths))
    return found
print(after(20) < 0.8 * after(1))
"""
    outcome = trained(code, tmp_path, small)
    assert outcome.out == "True\nTrue\nTrue\n", outcome


def test_the_example_of_augmentation_is_repeatable_and_turns_by_a_few_degrees(tmp_path: Path) -> None:
    import torch

    write_files(PLUGINS / "training.md", tmp_path)
    turned = runpy.run_path(str(tmp_path / "example_augmentation.py"))["turned"]
    height, width = 60, 120
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    # Of a tall stroke in the middle, what is turned is its direction, and what is mirrored the side of its mark.
    stroke = ((x - width / 2).abs() < 2).float() * (y > 5) * (y < 55)
    stroke += ((x - 70).abs() < 4).float() * ((y - 30).abs() < 4)
    images = stroke.expand(64, 3, height, width)
    first, again = (turned(images, torch.Generator().manual_seed(3)) for _ in range(2))
    other = turned(images, torch.Generator().manual_seed(4))
    assert first.shape == images.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    rows = first[:, 0]
    tops, bottoms = (
        (rows[:, part] * x[part]).sum((1, 2)) / rows[:, part].sum((1, 2)) for part in (slice(6, 18), slice(42, 54))
    )
    degrees = torch.rad2deg(torch.atan((bottoms - tops) / 36))
    assert 3 < degrees.abs().max() <= 5.5
    right = (rows * (x > 65)).sum((1, 2)) > (rows * (x < 55)).sum((1, 2))
    assert 15 < int(right.sum()) < 49


@pytest.mark.thorough
def test_the_example_of_backbones_prints_what_is_printed(tmp_path: Path) -> None:
    write_files(PLUGINS / "backbones.md", tmp_path)
    shown = re.search(r"```text\n(.*?)```", (PLUGINS / "backbones.md").read_text(), re.DOTALL)
    assert shown
    assert run(tmp_path, tmp_path, "example_backbone").out == shown[1]


def test_options_are_refused_with_the_words_on_their_page(tmp_path: Path) -> None:
    (path,) = write_files(PLUGINS / "options.md", tmp_path)
    example = runpy.run_path(str(path))["Example"]
    text = (PLUGINS / "options.md").read_text()
    for values in ({"epoch": 1}, {"epochs": "many"}, {"epochs": "0"}, {"score": "sum"}):
        with pytest.raises(AdcliError) as refused:
            example.parse(values)
        assert f"`{refused.value.format_message()}`" in text


# Signatures and tables


def signature(hook: str) -> str:
    """Return a hook's definition as its page has it."""
    text = str(inspect.signature(HOOKS[hook])).replace("adcli.specs.", "").replace("'", "")
    return f"def {hook}{text}: ..."


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hooks_page_has_its_signature(hook: str) -> None:
    assert f"```python\n{signature(hook)}\n```" in (PLUGINS / f"{hook}.md").read_text()


def first_column(page: Path, heading: str) -> list[str]:
    """Return the names in the first column of the table whose head begins with a word."""
    lines = iter(page.read_text().splitlines())
    rows = []
    for line in lines:
        if line.startswith(f"| {heading} |"):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    return rows
                rows += re.findall(r"`(\w+)`", row.split(" | ")[0])
    return rows


@pytest.mark.parametrize("hook", SPECS)
def test_a_specs_table_has_its_fields_in_order(hook: str) -> None:
    fields = [field.name for field in dataclasses.fields(SPECS[hook])]
    assert first_column(PLUGINS / f"{hook}.md", "field")[: len(fields)] == fields


def test_the_table_of_backbone_requests_and_of_backbone_options_are_complete() -> None:
    from adcli.nn.backbones import BackboneRequest

    request = [field.name for field in dataclasses.fields(BackboneRequest)]
    text = (PLUGINS / "adcli_backbones.md").read_text().partition("`BackboneRequest`:")[2]
    assert re.findall(r"^\| `(\w+)`", text, re.MULTILINE)[: len(request)] == request
    options = [info.name for info in BackboneOptions.describe()]
    assert first_column(PLUGINS / "options.md", "option") == options


def test_the_table_of_optimise_has_its_parameters() -> None:
    from adcli.nn.training import optimise

    assert set(first_column(PLUGINS / "training.md", "argument")) == set(inspect.signature(optimise).parameters)


def test_the_table_of_frozen_features_has_its_parameters() -> None:
    from adcli.nn.features import FrozenFeatures

    assert first_column(PLUGINS / "training.md", "parameter") == list(inspect.signature(FrozenFeatures).parameters)


@pytest.mark.parametrize("kind", ["model", "dataset", "backbone", "exporter", "executor", "command"])
def test_the_table_of_rules_has_each_with_its_promise(kind: str) -> None:
    from adcli.testing import Checked

    page = (PLUGINS / "testing.md").read_text()
    table = page.partition(f"| rule of {kind}s | promise |\n|---|---|\n")[2].partition("\n\n")[0]
    named = {"model": "padim", "dataset": "demo", "backbone": "embedded", "exporter": "onnx", "executor": "local"}
    named["command"] = "weigh"
    rules = Checked(named[kind], kind).rules()
    promises = [" ".join((rule.__doc__ or "").split()).replace("``", "`") for rule in rules.values()]
    assert table.splitlines() == [f"| `{name}` | {text} |" for name, text in zip(rules, promises, strict=True)]


def test_the_tables_of_layers_have_every_public_function() -> None:
    from adcli.nn import components, layers

    own = {
        name: value
        for module in (layers, components)
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and not name.startswith("_")
    }
    listed = dict(re.findall(r"^\| `(\w+)\((.*?)\)` \|", (PLUGINS / "layers.md").read_text(), re.MULTILINE))
    assert {*listed} == {*own}
    for name, parameters in listed.items():
        names = [parameter.partition("=")[0] for parameter in parameters.split(", ")]
        assert names == list(inspect.signature(own[name]).parameters)


def test_the_page_of_the_public_api_has_every_name_with_its_docstrings_sentence() -> None:
    assert (PLUGINS / "api.md").read_text() == test_public_api.page(), (
        "write it anew: python adcli-core/tests/test_public_api.py --record"
    )
    named = set(re.findall(r"^\| `([\w.]+)(?:\(\))?` \|", (PLUGINS / "api.md").read_text(), re.MULTILINE))
    recorded = [re.match(r"[\w.]+", line)[0] for line in test_public_api.recorded()]  # type: ignore[index]
    for module in test_public_api.MODULES:
        of_module = [name.removeprefix(f"{module}.") for name in recorded if name.startswith(f"{module}.")]
        assert {name for name in of_module if name in test_public_api.public_names(module)} <= named


def test_every_exit_code_is_listed() -> None:
    listed = re.findall(r"^\| `(\w+)` \| (\d+) \|", (PLUGINS / "errors.md").read_text(), re.MULTILINE)
    kinds = [AdcliError, *AdcliError.__subclasses__()]
    codes = {kind.__name__: str(kind.exit_code) for kind in kinds if kind.__module__ == "adcli.errors"}
    assert dict(listed) == codes
    assert f"{errors.DEFECT_FOUND} says that" in (PLUGINS / "errors.md").read_text()


# Navigation and links


def test_every_page_is_in_the_navigation() -> None:
    conf = runpy.run_path(str(DOCS / "conf.py"))
    entries = [entry for part in conf["NAVIGATION"].values() for entry in part]
    pages = [page_id(page).removesuffix(".md") for page in PAGES if page.name != "README.md" or page.parent != ROOT]
    listed = [page for page in pages if any(fnmatch(page, entry) for entry in entries)]
    assert {*pages} - {*listed} == {conf["root_doc"]}
    assert all(any(fnmatch(page, entry) for page in pages) for entry in entries)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = [re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title) for title in _HEADING.findall(text)]
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield path and anchor of the links of a page that lead to no other site."""
    for link in _LINK.findall(_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            yield path, anchor


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} is not there"
        assert target.is_relative_to(ROOT), f"{path} leads out of the repository"
        if anchor:
            assert anchor in anchors(target), f"{path} has no heading #{anchor}"


def test_links_are_found_and_broken_ones_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `code` title, and more\n\n[a](other.md#b-c), [d](https://e.f/g.md)\n\n```sh\n[h](i.md)\n```\n")
    assert list(links(page)) == [("other.md", "b-c")]
    assert anchors(page) == {"a-code-title-and-more"}
