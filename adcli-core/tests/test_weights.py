"""Networks whose parameters are about to be loaded are made without drawing them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adcli import BackboneError
from adcli.nn.weights import Undrawn, load_local_weights


class Network(nn.Module):
    """Layers that draw in several ways, and a buffer that is drawn too but not saved."""

    noise: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5), nn.Embedding(6, 7))
        self.own = nn.Parameter(torch.empty(8, 2))
        nn.init.xavier_normal_(tensor=self.own)
        self.register_buffer("noise", torch.empty(9).uniform_(), persistent=False)


def test_no_parameter_is_drawn_and_all_else_is() -> None:
    torch.manual_seed(0)
    expected = torch.empty(9).uniform_()
    torch.manual_seed(0)
    with Undrawn():
        network = Network()
    torch.testing.assert_close(network.noise, expected, rtol=0, atol=0)


def test_what_is_loaded_is_as_in_a_network_that_was_drawn() -> None:
    drawn = Network()
    with Undrawn():
        undrawn = Network()
    undrawn.load_state_dict(drawn.state_dict())
    for name, tensor in drawn.state_dict().items():
        torch.testing.assert_close(undrawn.state_dict()[name], tensor, rtol=0, atol=0)
        assert undrawn.state_dict()[name].dtype == tensor.dtype
    assert [p.requires_grad for p in undrawn.parameters()] == [p.requires_grad for p in drawn.parameters()]


def test_drawing_goes_on_as_before_afterwards() -> None:
    with Undrawn():
        pass
    assert nn.Linear(50, 50).weight.std() > 0.01


def test_limits_that_a_network_has_at_infinity_are_no_fault_of_its_weights(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 3)
    network.register_buffer("least", torch.tensor(-torch.inf))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    load_local_weights(network, tmp_path / "weights.pth")
    network.register_buffer("least", torch.tensor(0.0))
    with pytest.raises(BackboneError, match="'least' has values that are not finite"):
        load_local_weights(network, tmp_path / "weights.pth")
