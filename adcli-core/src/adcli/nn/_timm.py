"""Backbones from timm.

What a network can do is asked of timm: which keywords its constructor takes, which maps it has, and which image sizes
it takes, which is found by trying, on torch's meta device, where nothing is computed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from adcli._process.imports import import_light
from adcli.data.decoding import Size
from adcli.errors import BackboneError, is_out_of_memory, one_line, suggest
from adcli.nn._timm_making import create, own_size, refit, undisturbed
from adcli.nn._timm_sizes import Fit, fit_size, words
from adcli.nn.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, BackboneRequest, check_layers
from adcli.nn.weights import WAYS_OUT, load_local_weights, timm_unavailable


def timm_backbone(argument: str, request: BackboneRequest) -> Backbone:
    """Make ``timm:ARGUMENT``, with the weights of its tag from the hub, its cache or a local file."""
    _check_architecture("timm:", argument)
    download = request.pretrained and request.weights is None
    reason = timm_unavailable(argument) if download else None
    if reason:
        raise BackboneError(f"timm:{argument}: {reason} {WAYS_OUT}")
    return _make(f"timm:{argument}", argument, request, download=download)


def random_backbone(argument: str, request: BackboneRequest) -> Backbone:
    """Make ``random:ARGUMENT``: timm's architecture, its weights drawn from the run's seed."""
    _check_architecture("random:", argument)
    return _make(f"random:{argument}", argument, request, download=False)


def _check_architecture(prefix: str, argument: str) -> None:
    """Refuse a name or tag that timm does not have."""
    timm = import_light("timm")
    name, dot, tag = argument.partition(".")
    if argument in ("", ".") or (not name and tag[:1].isalnum()):
        raise BackboneError(f"{prefix} needs the name of a network, such as {prefix}resnet18.")
    if not timm.is_model(name):
        raise BackboneError(f"timm has no model '{argument}'.{suggest(name, timm.list_models())}")
    if not dot:
        return
    known = import_light("timm.models").get_arch_pretrained_cfgs(name)
    tags = [tag for tag in (full.partition(".")[2] for full in known) if tag]
    if tag not in tags:
        advice = suggest(tag, tags) or f" Leave out '.{tag}'."
        raise BackboneError(f"timm has no weights '{tag}' of model '{name}'.{advice}")


def _make(name: str, argument: str, request: BackboneRequest, *, download: bool) -> Backbone:
    fit = None if request.image_size is None else _fit(name, argument, request.image_size, request.weights)
    network = _create(name, argument, fit, download)
    if request.weights is not None:
        _load(name, argument, network, request.weights, _made_for(fit))
    info = network.feature_info
    # Stems run at strides below 4 and are no layer of any paper.
    layers = [i for i, layer in enumerate(info) if layer["reduction"] >= 4]
    chosen = [layers[layer - 1] for layer in check_layers(request.layers, len(layers), name)]
    config = network.pretrained_cfg
    # A network of stages halves its maps; one of blocks has a whole network's worth of them at one stride.
    blocks = len(layers) > 1 and len({layer["reduction"] for layer in info}) == 1
    if request.norm and not blocks:
        raise BackboneError(f"{name}: no norm is common to its layers, which are stages; leave out -o norm=true.")
    return Backbone(
        TimmFeatures(network, chosen, argument, fit, norm=request.norm),
        channels=[info[i]["num_chs"] for i in chosen],
        strides=[info[i]["reduction"] if fit is None else fit.covers[i].stride for i in chosen],
        offsets=None if fit is None else [fit.covers[i].offset for i in chosen],
        mean=config.get("mean", IMAGENET_MEAN),
        std=config.get("std", IMAGENET_STD),
        image_size=request.image_size if _made_for(fit) else None,
        layer_count=len(layers),
        layer_kind="block" if blocks else "stage",
    )


def _fit(name: str, argument: str, size: Size, weights: Path | None) -> Fit:
    """Return how the network takes images of a size; raises as :func:`fit_size`.

    If weights in a file fit at the network's own size alone, that is what the message says, and no other size.
    """
    try:
        return fit_size(name, argument, size)
    except BackboneError:
        own = own_size(argument)
        double = (2 * own[0], 2 * own[1])
        if weights is not None and _fit_at(argument, weights, own) and not _fit_at(argument, weights, double):
            raise _for_own_size(name, weights, own) from None
        raise


def _for_own_size(name: str, weights: Path, own: Size) -> BackboneError:
    return BackboneError(
        f"{weights}: these weights of '{name}' are for images of {own[0]} x {own[1]}, and timm cannot resample them: "
        f"use --image-size {words(own)}."
    )


def _made_for(fit: Fit | None) -> Size | None:
    return fit.size if fit is not None and fit.made_for else None


def _create(name: str, argument: str, fit: Fit | None, download: bool) -> Any:
    try:
        return create(argument, None if fit is None else fit.size, pretrained=download)[0]
    except Exception as error:  # timm and the hub raise anything, from RuntimeError to httpx's own
        if is_out_of_memory(error):
            raise
        own = own_size(argument)
        resampled = _made_for(fit) not in (None, own) and "size mismatch" in str(error)
        advice = f"; its weights are for --image-size {words(own)}" if resampled else ""
        raise BackboneError(f"{name} cannot be made: {one_line(error)}{advice}") from None


def _load(name: str, argument: str, network: nn.Module, path: Path, size: Size | None) -> None:
    """Load weights from a file; if they fit at the network's own size alone, say so."""
    try:
        load_local_weights(network, path, lambda tensors: refit(argument, size, tensors))
    except BackboneError:
        own = own_size(argument)
        if size in (None, own) or not _fit_at(argument, path, own):
            raise
        raise _for_own_size(name, path, own) from None


def _fit_at(argument: str, path: Path, size: Size) -> bool:
    """Tell whether weights fit the network that is made for a size."""
    try:
        with undisturbed("cpu"):
            network = create(argument, size).network
    except Exception:  # timm asserts, torch raises: anything, for sizes that do not fit
        return False
    try:
        load_local_weights(network, path, lambda tensors: refit(argument, size, tensors))
    except BackboneError:
        return False
    return True


class TimmFeatures(nn.Module):
    """The intermediate maps of a timm network, computing nothing beyond the last of them.

    Args:
        network: of timm.
        indices: of its maps, ascending.
        argument: the network's name.
        fit: how images are continued to a size that it takes; None if it sees them as they are.
        norm: whether the network's final norm is applied to each map.
    """

    def __init__(
        self, network: nn.Module, indices: Sequence[int], argument: str, fit: Fit | None, *, norm: bool = False
    ) -> None:
        super().__init__()
        self.indices, self.argument, self.norm = list(indices), argument, norm
        self.made_for = _made_for(fit)
        self.margins = (0, 0) if fit is None else fit.margins
        network.prune_intermediate_layers(self.indices, prune_head=True)  # type: ignore[operator]
        self.network = network
        self.register_load_state_dict_pre_hook(_refit_state)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor) -> list[Tensor]:
        below, right = self.margins
        # Normalised images are continued by the mean of the pixels, as timm's patch embeddings do.
        images = F.pad(images, (0, right, 0, below)) if below or right else images
        maps: list[Tensor] = self.network.forward_intermediates(  # type: ignore[operator]
            images,
            indices=self.indices,
            norm=self.norm,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return maps


def _refit_state(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Resample what depends on the image size in a state that was saved by a network made for another."""
    assert isinstance(module, TimmFeatures)
    own = module.network.state_dict()
    start = f"{prefix}network."
    saved = {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
    if module.made_for is None or not any(_differs(saved, key, value) for key, value in own.items()):
        return
    fitting = refit(module.argument, module.made_for, saved)
    # Only what does not fit: other parameters may have been folded, and are no longer timm's.
    state.update({start + key: fitting[key] for key in own if _differs(saved, key, own[key]) and key in fitting})


def _differs(saved: Mapping[str, Tensor], key: str, own: Tensor) -> bool:
    return key in saved and saved[key].shape != own.shape
