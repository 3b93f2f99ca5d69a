"""A stranger's plugin is treated as ours: two files, installed from outside the tree; a broken one disturbs nobody."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import Outcome

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{distribution}"
version = "1.2.3"
dependencies = ["adcli-core>=0.1,<1"]

[project.entry-points.adcli]
{name} = "{module}"

[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""

MODULE = """
from adcli import ModelSpec, Options, hookimpl, option


class MeanOptions(Options):
    power: float = option(2.0, "Exponent of the difference.", gt=0)


@hookimpl
def adcli_models():
    return [ModelSpec(name="mean_image", target="mean_image.model:MeanImage", options=MeanOptions,
                      summary="Distance to the mean good image", one_pass=True)]
"""

MODEL = """
import torch
from adcli.nn.model import Model, Scores


class MeanImage(Model):
    def __init__(self, options, *, image_size, pretrained=True):
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.register_buffer("mean", torch.zeros(3, *image_size))

    def fit(self, batches):
        total = sum(images.sum(dim=0) for images in batches)
        self.mean = total / batches.count

    def forward(self, images):
        maps = (images - self.mean).abs().pow(self.options.power).mean(dim=1, keepdim=True)
        return Scores(maps.flatten(1).amax(dim=1), maps)
"""

BROKEN = "raise RuntimeError('the wheel\\nis broken')"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the two installed plugins."""
    root = tmp_path_factory.mktemp("third_party")
    sources = {"mean_image": {"__init__.py": MODULE, "model.py": MODEL}, "broken_model": {"__init__.py": BROKEN}}
    for module, files in sources.items():
        project = root / module
        (project / module).mkdir(parents=True)
        text = PYPROJECT.format(distribution=f"adcli-{module.replace('_', '-')}", name=module, module=module)
        (project / "pyproject.toml").write_text(text)
        for name, content in files.items():
            (project / module / name).write_text(content)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
        subprocess.run([*pip, "--target", str(root / "site"), str(project)], check=True)
    return root / "site"


def run(site: Path, cwd: Path, *arguments: object) -> Outcome:
    """Run the command line with the plugins installed."""
    done = subprocess.run(
        [sys.executable, "-m", "adcli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_a_two_file_plugin_trains_and_predicts(site: Path, parts: Path, tmp_path: Path) -> None:
    arguments = ("--model", "mean_image", "--data", parts, "-o", "power=1.5", "--image-size", 64, "--json")
    trained = run(site, tmp_path, "train", *arguments)
    assert trained.code == 0, trained.err
    outcome = json.loads(trained.out)
    assert outcome["metrics"]["image"]["auroc"] > 0.5
    predicted = run(site, tmp_path, "predict", outcome["run"], parts / "test", "--json")
    assert predicted.code == 0, predicted.err
    assert len(json.loads(predicted.out)) == 12
    without = run(tmp_path, tmp_path, "predict", outcome["run"], parts / "test")
    assert without.code == 6
    assert "adcli-mean-image 1.2.3" in without.err


def test_a_broken_plugin_is_reported_and_disturbs_nobody(site: Path, tmp_path: Path) -> None:
    listed = run(site, tmp_path, "plugins", "--json")
    by_name = {plugin["name"]: plugin for plugin in json.loads(listed.out)}
    assert by_name["broken_model"]["error"] == "RuntimeError: the wheel is broken, broken_model/__init__.py:1"
    assert by_name["broken_model"]["distribution"] == "adcli-broken-model"
    assert by_name["broken_model"]["version"] == "1.2.3"
    assert not by_name["mean_image"]["error"]
    models = run(site, tmp_path, "models")
    assert models.code == 0
    assert "mean_image" in models.out
    warnings = models.err.strip().splitlines()
    assert len(warnings) == 1
    assert "adcli-broken-model 1.2.3" in warnings[0]
    assert run(site, tmp_path, "--help").err == ""
