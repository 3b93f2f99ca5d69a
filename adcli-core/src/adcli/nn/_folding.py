"""Fold frozen batch norms into the convolutions before them: the same function with a third fewer passes over maps."""

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(network: nn.Module, size: tuple[int, int] = (64, 64)) -> None:
    """Replace each convolution followed by a batch norm by one convolution, in place; evaluation mode only.

    Which batch norm follows which convolution is found by passing a small image through the network, and not from names
    or the order of modules. A convolution whose output also goes to another module keeps its batch norm.

    Args:
        network: maps images (N, 3, H, W).
        size: of an image that it takes.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return
    names = {module: name for name, module in network.named_modules()}
    for convolution, norm in _find_pairs(network, size):
        fused = fuse_conv_bn_eval(convolution, norm)
        # timm's batch norms carry their activation.
        activation = getattr(norm, "act", None)
        network.set_submodule(names[convolution], fused)
        network.set_submodule(names[norm], activation if isinstance(activation, nn.Module) else nn.Identity())


def _find_pairs(network: nn.Module, size: tuple[int, int]) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return each convolution with the batch norm that alone takes its output.

    A hook after each convolution notes which tensor it returned, by identity; a hook before every other module notes
    which of these tensors it takes.
    """
    producers: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    consumers: dict[nn.Conv2d, list[nn.Module]] = {}

    def note_producer(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        # Keeping the tensor keeps its id from being used again.
        producers[id(output)] = (module, output)

    def note_consumer(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        for value in inputs:
            if isinstance(value, Tensor) and id(value) in producers:
                consumers.setdefault(producers[id(value)][0], []).append(module)

    handles = [m.register_forward_hook(note_producer) for m in network.modules() if isinstance(m, nn.Conv2d)]
    # Containers are left out, since they take what their first child takes. timm's batch norms are no leaves: they
    # have their activation as a child.
    leaves = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) or not list(m.children())]
    handles += [leaf.register_forward_pre_hook(note_consumer) for leaf in leaves]
    try:
        with torch.no_grad():
            network(torch.rand(1, 3, *size, device=next(network.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return [
        (convolution, modules[0])
        for convolution, modules in consumers.items()
        if len(modules) == 1 and isinstance(modules[0], nn.BatchNorm2d)
    ]
