"""Models are found in the files of an anomalib, whatever is in them, and without one a line says what to install."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from adcli import ModelSpec, OptionError, PluginError
from adcli_anomalib import listing
from adcli_anomalib.declared import PeerOptions
from adcli_anomalib.known import MODELS

TRAINED = '''
from torch import nn


class Sketch(AnomalibModule):
    """Sketch of a model.

    It is described in https://arxiv.org/abs/2101.00001>`_.

    Args:
        backbone (str): Name of the network. It has several
            layers.
        layers (Sequence[str]): Layers to use.
        mode (Mode): How to add up.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        layers: Sequence[str] = ("layer1", "layer2"),
        mode: Mode = Mode.ADD,
        rate: float | tuple[float, float] = 0.5,
        folder: Path | str = "./textures",
        groups: list[list[int]] | None = None,
        count: int | None = None,
        flat: bool = False,
        pre_processor: PreProcessor | bool = True,
        visualizer: Visualizer | bool = True,
    ) -> None:
        super().__init__()

    def training_step(self, batch):
        return self.model(batch)
'''
REMEMBERED = """
class Bank(MemoryBankMixin, AnomalibModule):
    def __init__(self, pre_trained: bool = True, image_size: int = 256) -> None:
        super().__init__()

    def training_step(self, batch):
        return None
"""


@pytest.fixture
def sketched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that holds an anomalib of two models, which cannot be imported."""
    images = tmp_path / "anomalib" / "models" / "image"
    (tmp_path / "anomalib" / "__init__.py").parent.mkdir()
    (tmp_path / "anomalib" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    for name, source in (("sketch", TRAINED), ("bank", REMEMBERED)):
        (images / name).mkdir(parents=True)
        (images / name / "lightning_model.py").write_text(source)
    (images / "__init__.py").write_text("from .bank import Bank\nfrom .sketch import Sketch\n")
    # One that is imported already would be found first.
    monkeypatch.setattr(listing, "find_spec", lambda name: PathFinder.find_spec(name, [str(tmp_path)]))
    listing.list_models.cache_clear()
    yield tmp_path
    listing.list_models.cache_clear()


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No anomalib, wherever one may be installed."""
    monkeypatch.setattr(listing, "find_spec", lambda name: None)
    listing.list_models.cache_clear()
    yield
    listing.list_models.cache_clear()


def spec_of(name: str) -> ModelSpec:
    (spec,) = (spec for spec in listing.list_models() if spec.name == name)
    return spec


def test_models_are_listed_without_importing_anomalib(sketched: Path) -> None:
    assert [spec.name for spec in listing.list_models()] == ["anomalib_bank", "anomalib_sketch"]
    assert spec_of("anomalib_sketch").paper == "https://arxiv.org/abs/2101.00001"


def test_options_are_those_of_the_constructor(sketched: Path) -> None:
    found = {each.name: each for each in spec_of("anomalib_sketch").options.describe()}
    assert {name: each.default for name, each in found.items()} == {
        "weights": None,
        "pre_trained": True,
        "backbone": "resnet18",
        "layers": ("layer1", "layer2"),
        "mode": None,
        "rate": (0.5,),
        "folder": Path("textures"),
        "count": None,
        "flat": False,
        "epochs": 100,
        "steps": None,
    }
    assert found["backbone"].help == "Name of the network."
    assert found["layers"].type == "text, ..."


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layer": "layer1"}, "Did you mean 'layers'?"),
        ({"count": "many"}, "must be an integer or none"),
        ({"flat": "perhaps"}, "must be true or false"),
        ({"epochs": "0"}, "at least 1"),
        ({"groups": "1,2"}, "is not an option"),
        ({"visualizer": "true"}, "is not an option"),
    ],
)
def test_options_are_checked(sketched: Path, given: dict[str, str], words: str) -> None:
    with pytest.raises(OptionError) as raised:
        spec_of("anomalib_sketch").options.parse(given)
    assert words in raised.value.format_message()


def test_what_remembers_has_no_epochs_and_no_size_of_its_own(sketched: Path) -> None:
    spec = spec_of("anomalib_bank")
    assert spec.one_pass
    assert [each.name for each in spec.options.describe()] == ["weights", "pre_trained"]
    assert not spec_of("anomalib_sketch").one_pass


def test_one_name_stands_for_all_where_there_is_none(absent: None) -> None:
    assert listing.list_models() == [listing.ABSENT]


def test_who_uses_it_is_told_what_to_install(absent: None) -> None:
    from adcli_anomalib.absent import Absent

    with pytest.raises(PluginError) as raised:
        Absent(PeerOptions(), image_size=(64, 64))
    assert "anomalib is not installed: pip install" in str(raised.value)
    assert "adcli-anomalib[anomalib]" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.thorough
def test_training_it_is_one_line(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'anomalib' else find(name, package)\n"
        "from adcli.cli import main\nmain(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "train", "--model", "anomalib", "--data", str(write_images(tmp_path))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 6, done.stderr
    assert "Error: anomalib is not installed: pip install" in done.stderr
    assert "Traceback" not in done.stderr


def write_images(folder: Path) -> Path:
    from adcli.testing import textured_batches

    (folder / "images").mkdir()
    textured_batches(folder / "images", 8)
    return folder / "images"


def test_every_known_model_that_trains_says_when_it_ends() -> None:
    passes = ("anomaly_dino", "anomalyvfm", "dfkde", "dfm", "mh_patchcore", "padim", "patchcore", "rad", "super_add")
    never = [name for name, known in MODELS.items() if known.unusable]
    for name, known in MODELS.items():
        trains = known.epochs is not None or known.steps is not None
        assert trains == (name not in (*passes, "winclip", *never)), name
