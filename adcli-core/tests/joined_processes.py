"""What each of several processes does in ``test_processes.py``; writes what it ends with."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from adcli.data import items_of
from adcli.data.source import ImageSource
from adcli.nn import distributed
from adcli.nn.batches import Batches, Session
from adcli.nn.components import principal_directions, randomised_components
from adcli.nn.training import optimise, update_batch_norms


def trained(paths: list[Path], batch_size: int, checkpoints: Path | None = None, epochs: int = 4) -> nn.Module:
    """Train a small network without batch norm; the epoch that validates best is not the last."""
    torch.manual_seed(distributed.rank())  # The first process's weights must win.
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 1))
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    source, seen = ImageSource((16, 16), workers=0), list[float]()
    batches = Batches(items_of(paths), source, batch_size=batch_size, session=Session(checkpoints=checkpoints))
    held_out = Batches(items_of(paths[:1]), source)

    def measure(images: Tensor) -> Tensor:
        seen.append(abs(len(seen) - 2) + distributed.rank())
        return images.new_tensor(seen[-1])

    def loss(images: Tensor) -> Tensor:
        return (module(images) - images).square().mean()

    optimise(module, loss, batches, optimizer=optimizer, epochs=epochs, held_out=held_out, measure=measure)
    return module


def settled(paths: list[Path]) -> nn.Module:
    """Settle a network's batch norm on all images, a part in each process."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    batches = Batches(items_of(paths), ImageSource((16, 16), workers=0), batch_size=2)
    update_batch_norms(network, batches.sharded().shuffled(0))
    return network


def found(paths: list[Path], batch_size: int) -> dict[str, Tensor]:
    """Return what the tests look at."""
    torch.manual_seed(0)
    rank, rows = distributed.rank(), torch.randn(21, 9) * torch.arange(1.0, 10)
    mine = rows if distributed.world_size() == 1 else rows[:13] if rank == 0 else rows[13:]
    torch.manual_seed(3)
    randomised = randomised_components(lambda: mine.split(4), 0.99, 9, sharded=True)
    outcome = {
        "sum": distributed.reduce_sum(torch.full((2, 3), rank + 1.0)),
        "turned": distributed.reduce_sum(torch.arange(6.0).reshape(2, 3).T),
        "gathered": distributed.gather(torch.full((rank + 1, 2), float(rank))),
        "broadcast": distributed.broadcast(torch.tensor([7.0 + rank])),
        "directions": principal_directions(mine.split(4), 5, sharded=True),
        "randomised": randomised.directions * randomised.variances,
        "on_first": torch.tensor(distributed.on_first(lambda: {"value": rank})["value"]),
    }
    outcome |= {f"trained.{name}": part for name, part in trained(paths, batch_size).state_dict().items()}
    outcome |= {f"settled.{name}": part for name, part in settled(paths).state_dict().items()}
    return {name: part.detach().clone().contiguous() for name, part in outcome.items()}


if __name__ == "__main__":
    images = sorted(Path(sys.argv[1]).glob("*.png"))
    with distributed.joined():
        save_file(found(images, 5), f"{sys.argv[2]}/{distributed.rank()}.safetensors")
