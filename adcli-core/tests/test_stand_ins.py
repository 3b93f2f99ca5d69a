"""Which backbone takes the place of a default one whose weights cannot be had."""

from dataclasses import replace

import pytest

from adcli import BackboneOptions, ModelSpec, option
from adcli.nn import backbones
from adcli.pipeline import TrainSettings, _building
from adcli.pipeline._building import ChosenOptions, choose_options
from adcli.progress import Progress

MISSING = "not at hand."


class StandInOptions(BackboneOptions):
    """Options whose default backbone is no plugin's."""

    backbone: str = option("timm:wide_resnet50_2.tv_in1k", "The backbone.")
    layers: tuple[int, ...] = option((2, 3), "Its layers.")


SPEC = ModelSpec(name="model", target="code:Model", options=StandInOptions, summary="", stand_in="random:resnet34")


class Notes(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def choose(spec: ModelSpec, **options: str) -> tuple[ChosenOptions, str]:
    notes = Notes()
    return choose_options(spec, TrainSettings(model="model", data="x", options=options), notes), "\n".join(notes.lines)


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_building, "weights_unavailable", lambda name: MISSING if name.startswith("timm:") else None)


def backbone_of(chosen: ChosenOptions) -> str:
    assert isinstance(chosen.options, BackboneOptions)
    return chosen.options.backbone


def test_a_models_own_stand_in_is_used_and_named() -> None:
    chosen, said = choose(SPEC)
    assert backbone_of(chosen) == "random:resnet34"
    assert (chosen.default_backbone, chosen.reason) == ("timm:wide_resnet50_2.tv_in1k", MISSING)
    assert said == f"backbone timm:wide_resnet50_2.tv_in1k: {MISSING} Using 'random:resnet34' instead."


def test_a_stand_in_that_is_not_installed_is_itself_replaced() -> None:
    chosen, said = choose(replace(SPEC, stand_in="no_such_backbone"))
    try:
        backbones.find_backbone("embedded")
    except backbones.BackboneError:
        assert backbone_of(chosen) == "random:resnet18"
        assert "learnt nothing" in said
    else:
        assert backbone_of(chosen) == "embedded"
    assert "no_such_backbone" not in said


def test_a_backbone_that_is_named_is_never_replaced() -> None:
    chosen, said = choose(SPEC, backbone="timm:resnet18")
    assert backbone_of(chosen) == "timm:resnet18"
    assert chosen.reason is None
    assert "instead" not in said
