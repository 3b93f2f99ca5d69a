"""anomalib's models are built, restored and refused as models of adcli are."""

import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

pytest.importorskip("anomalib", reason="anomalib is not installed: nox -s anomalib")

import timm
from safetensors.torch import save_file

from adcli import AdcliError, BackboneError, OptionError, PluginError
from adcli.testing import Check, conformance, textured_batches
from adcli_anomalib import building
from adcli_anomalib.declared import PeerOptions
from adcli_anomalib.listing import list_models
from adcli_anomalib.model import PeerModel

SIZE = (64, 64)


def options_of(name: str, **given: Any) -> PeerOptions:
    (spec,) = (spec for spec in list_models() if spec.name == f"anomalib_{name}")
    options = spec.options.parse(given)
    assert isinstance(options, PeerOptions)
    return options


def build(name: str, *, size: tuple[int, int] = SIZE, **given: Any) -> PeerModel:
    return PeerModel(options_of(name, **given), image_size=size)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection, to any host."""

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a connection was asked for")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@conformance("anomalib_padim")
def test_padim_conforms(check: Check) -> None:
    check()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("patchcore", {"backbone": "resnet18"}),
        ("stfpm", {"epochs": 1}),
        ("csflow", {"epochs": 1, "cross_conv_hidden_channels": 16}),
        ("dfkde", {"n_pca_components": 3}),
    ],
)
def test_a_run_is_opened_without_a_connection(name: str, given: dict[str, Any], offline: None, tmp_path: Path) -> None:
    batches = textured_batches(tmp_path, 8, SIZE)
    size = (128, 128) if name == "csflow" else SIZE
    model = build(name, pre_trained=False, size=size, **given)
    if name != "csflow":
        model.fit(batches)
    again = PeerModel(options_of(name, **given), image_size=size, pretrained=False)
    again.restore(model.weights())
    images = torch.rand(2, 3, *size)
    with torch.inference_mode():
        expected, found = model.eval()(images), again(images)
    torch.testing.assert_close(found.image, expected.image)
    assert (found.map is None) == (name == "dfkde")


def test_a_file_has_the_weights_of_the_backbone(tmp_path: Path, offline: None) -> None:
    torch.manual_seed(3)
    network = timm.create_model("resnet18", pretrained=False)
    save_file(network.state_dict(), tmp_path / "resnet18.safetensors")
    model = build("patchcore", backbone="resnet18", weights=str(tmp_path / "resnet18.safetensors"))
    expected = network.layer3[1].conv2.weight
    assert any(torch.equal(each, expected) for each in model.network.parameters() if each.shape == expected.shape)


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet34", pretrained=False).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(BackboneError, match="not the weights of this backbone"):
        build("padim", weights=str(tmp_path / "other.safetensors"))


def test_weights_that_cannot_be_had_are_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(BackboneError) as raised:
        build("padim")
    for words in ("anomalib_padim", "no route to host", "-o weights=FILE", "-o pre_trained=false"):
        assert words in str(raised.value)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("dfkde", {"feature_scaling_method": "largest"}, ("feature_scaling_method", "norm or scale")),
        ("padim", {"backbone": "resnet19"}, ("anomalib_padim", "resnet19")),
        ("patchcore", {"precision": "float8", "backbone": "resnet18"}, ("anomalib_patchcore", "float8")),
        ("cfm", {}, ("anomalib_cfm", "point cloud")),
        ("vlm_ad", {}, ("anomalib_vlm_ad", "language model")),
    ],
)
def test_what_anomalib_refuses_is_one_line(name: str, given: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(OptionError) as raised:
        build(name, pre_trained=False, **given)
    message = raised.value.format_message()
    assert "\n" not in message
    for word in words:
        assert word in message


def test_an_anomalib_of_another_age_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "version", lambda name: "1.2.0")
    with pytest.raises(PluginError, match=r"anomalib 1\.2\.0 is installed"):
        build("padim", pre_trained=False)


def test_training_needs_an_end(tmp_path: Path) -> None:
    with pytest.raises(AdcliError, match="must be given if steps are not"):
        build("stfpm", pre_trained=False, epochs="none").fit(textured_batches(tmp_path, 4, SIZE))


def test_steps_end_a_training_within_an_epoch(tmp_path: Path) -> None:
    batches = textured_batches(tmp_path, 8, SIZE, batch_size=2)
    model = build("stfpm", pre_trained=False, epochs="none", steps=3)
    model.fit(batches)
    assert model.trained_by[0].trainer.global_step == 3
