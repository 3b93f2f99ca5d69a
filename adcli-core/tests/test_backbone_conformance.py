"""Every rule for backbones can fail, fails for what it is about, and for nothing else; the core's own keep them all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from wrong_backbones import RIGHT, WRONG

from adcli._plugins.registry import registry
from adcli.errors import OptionError
from adcli.testing import Check, Checked, check_plugin, conformance
from adcli.testing.backbones import RULES, subject_of

SHARED = Path(__file__).parents[3] / "shared"
INSTALLED = Path(__file__).parent / "installed"


def broken_rules(checked: Checked) -> dict[str, str]:
    return {result.rule: result.problem for result in check_plugin(checked) if result.problem}


@conformance(RIGHT)
def test_the_right_backbone_conforms(check: Check) -> None:
    check()


@conformance("random:resnet18", kind="backbone")
def test_random_conforms(check: Check) -> None:
    check()


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs weights in ../shared")
def test_timm_conforms(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(SHARED / "weights/hf/hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(SHARED / "weights/hf/hub"))
    assert not broken_rules(Checked("timm:mobilenetv2_100.ra_in1k"))


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have torchvision's weights drawn instead of downloaded, the same each time."""
    import torch
    from torch import nn

    from adcli.nn import _torchvision

    def draw(network: nn.Module, argument: str, local: Path | None) -> None:
        if local is not None:
            _torchvision.load_local_weights(network, local)
        torch.manual_seed(2)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.05)

    monkeypatch.setattr(_torchvision, "_load_torchvision", draw)


@pytest.mark.usefixtures("no_download")
def test_torchvision_conforms() -> None:
    assert not broken_rules(Checked("torchvision:resnet18"))


def test_every_rule_has_a_wrong_backbone() -> None:
    assert set(WRONG) | {"describing_imports_nothing_heavy"} == set(RULES)


@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_backbone_breaks_its_rule_and_no_other(rule: str) -> None:
    broken = broken_rules(Checked(WRONG[rule]))
    assert set(broken) == {rule}, broken


@pytest.fixture
def heavy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the plugin that imports torch installed."""
    monkeypatch.syspath_prepend(str(INSTALLED))
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.mark.usefixtures("heavy")
def test_importing_torch_to_describe_breaks_the_rule_on_imports_for_nobody_else() -> None:
    broken = broken_rules(Checked("wrong_heavy"))
    assert set(broken) == {"describing_imports_nothing_heavy"}, broken
    assert "torch" in broken["describing_imports_nothing_heavy"]
    RULES["describing_imports_nothing_heavy"](subject_of("random:resnet18"))


def test_every_rule_says_what_it_promises() -> None:
    assert all((rule.__doc__ or "").strip().endswith(".") for rule in RULES.values())


def test_a_prefix_alone_asks_for_a_network() -> None:
    with pytest.raises(OptionError, match="'random:' takes the name of a network"):
        subject_of("random:")
