"""Make one of anomalib's models, with weights from a hub, a file or a run, and without a word."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from enum import Enum
from functools import partialmethod
from importlib import import_module
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any, get_type_hints
from unittest.mock import patch

import torch
from torch import Tensor, nn

from adcli import AdcliError, BackboneError, OptionError, PluginError, install_command, one_line
from adcli.data import Size
from adcli.nn import load_local_weights
from adcli_anomalib.declared import PeerOptions
from adcli_anomalib.known import MODELS, OTHERS
from adcli_anomalib.listing import PREFIX

_FIRST, _AFTER = (2, 7), (3, 0)
"""Versions of anomalib whose models can be used."""

_LOADERS = ("prepare_pretrained_model", "load_pretrained_discrete_model_weights")
"""Methods of models that fetch weights of their own when they begin to train."""


def build_peer(options: PeerOptions, image_size: Size, *, pretrained: bool) -> Any:
    """Return anomalib's own module, a ``LightningModule`` whose ``model`` maps normalised images to scores.

    Args:
        options: those of one of its models.
        image_size: height and width of its images.
        pretrained: False if all of its weights will follow, so that none are looked for.

    Raises:
        OptionError: anomalib refuses the options or the size of the images.
        BackboneError: the pretrained weights cannot be had.
        PluginError: something that it needs is not installed.
    """
    name, known = options.peer[0], MODELS.get(options.peer[0], OTHERS)
    if known.unusable:
        raise OptionError(f"{PREFIX}{name} {known.unusable}; choose another model.")
    peer = import_peer(options)
    wanted = pretrained and options.pre_trained
    with quiet(), supplying(options.weights, nothing=not wanted), blaming(name, image_size):
        module = peer(
            pre_processor=_make_pre_processor(peer, image_size),
            **dict.fromkeys(("post_processor", "evaluator", "visualizer"), False),
            **_find_sizes(peer, image_size),
            **_find_arguments(peer, options),
        )
    if not wanted:
        _leave_out_loaders(module)
    return module


def import_peer(options: PeerOptions) -> Any:
    """Return the class of a model; raises :class:`PluginError` if anomalib cannot be imported or is of another age."""
    model, peer = options.peer
    found = version("anomalib")
    if not _FIRST <= tuple(map(int, found.split(".")[:2])) < _AFTER:
        other = install_command("adcli-anomalib[anomalib]", flags=["--upgrade"])
        raise PluginError(f"anomalib {found} is installed, and not one from 2.7 on and before 3: {other}")
    try:
        with quiet():
            module = import_module(f"anomalib.models.image.{model}.lightning_model")
        return getattr(module, peer)
    except (ImportError, AttributeError) as error:
        reinstall = install_command("adcli-anomalib[anomalib]", flags=["--upgrade"])
        raise PluginError(f"anomalib {found} cannot be used ({one_line(error)}): {reinstall}") from error


def _make_pre_processor(peer: Any, image_size: Size) -> Any:
    """Return what tells a model the size of its images and normalises them; adcli resizes and crops."""
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, Resize

    return PreProcessor(transform=Compose([Resize(image_size), *list_normalisations(peer.configure_pre_processor())]))


def list_normalisations(pre_processor: Any) -> list[Any]:
    """Return the steps of a pre-processor that neither resize nor crop, which is to normalise."""
    from torchvision.transforms.v2 import Normalize

    steps = getattr(pre_processor.transform, "transforms", [pre_processor.transform])
    return [step for step in steps if isinstance(step, Normalize)]


def _find_sizes(peer: Any, image_size: Size) -> dict[str, Any]:
    """Return the arguments by which a constructor learns the size of the images, if it wants to know."""
    wanted = {"input_shape": image_size, "image_size": image_size[0]}
    return {name: size for name, size in wanted.items() if name in signature(peer).parameters}


def _find_arguments(peer: Any, options: PeerOptions) -> dict[str, Any]:
    """Return the options that are not as by default, as the constructor takes them."""
    default, values = type(options).parse({}).to_dict(), options.to_dict()
    # What pretrained weights are is decided where they are asked for; GLASS fails if it is told that there are none.
    given = [
        name
        for name in signature(peer).parameters
        if name in values and name != "pre_trained" and values[name] is not None and values[name] != default[name]
    ]
    return {name: _convert(name, getattr(options, name), _read_hint(peer, name)) for name in given}


def _read_hint(peer: Any, name: str) -> Any:
    """Return an argument's annotation; as a text, if what it names is imported for type checkers alone."""
    try:
        return get_type_hints(peer.__init__)[name]
    except NameError:
        return signature(peer).parameters[name].annotation


def _convert(name: str, value: Any, hint: Any) -> Any:
    """Return an option's value as an annotation of anomalib's wants it."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            raise OptionError(f"must be {' or '.join(str(one.value) for one in hint)}.", option=name) from None
    if isinstance(value, tuple) and float in getattr(hint, "__args__", ()) and len(value) == 1:
        return value[0]
    return list(value) if isinstance(value, tuple) and "list" in str(hint) else value


_REFUSALS = (ValueError, TypeError, KeyError, IndexError, AssertionError, RuntimeError)
"""What a constructor raises of options that it cannot use."""


@contextlib.contextmanager
def blaming(name: str, image_size: Size, refusals: tuple[type[Exception], ...] = _REFUSALS) -> Iterator[None]:
    """Turn what anomalib raises of options, sizes and weights into errors of adcli's, a line each."""
    model, size = f"{PREFIX}{name}", f"{image_size[0]} x {image_size[1]}"
    try:
        yield
    except ImportError as error:
        command = install_command("adcli-anomalib[anomalib]")
        raise PluginError(f"{model} needs more than is installed ({one_line(error)}): {command}") from error
    except OSError as error:
        raise BackboneError(
            f"what {model} starts from cannot be had ({one_line(error)[:120]}): its weights, or images of another set; "
            "fetch them where there is a connection, give -o weights=FILE, or draw weights with -o pre_trained=false."
        ) from error
    except refusals as error:
        if isinstance(error, (AdcliError, torch.OutOfMemoryError)):
            raise
        raise OptionError(
            f"anomalib refuses the options of {model}, or images of {size}: {one_line(error)[:160]}; see 'adcli models "
            f"show {model}'."
        ) from error


class _Supplied(dict[str, Any]):
    """Stands for a network's pretrained weights until it loads them."""


@contextlib.contextmanager
def supplying(weights: Path | None, *, nothing: bool) -> Iterator[None]:
    """Within it, networks that ask for pretrained weights get those of a file, or none, and no hub is asked.

    anomalib has no argument for either, and asks for pretrained weights even where a checkpoint follows.

    Args:
        weights: a file with the weights of the backbone.
        nothing: leave the weights as they were drawn.
    """
    if weights is None and not nothing:
        yield
        return
    file = None if nothing else weights
    with contextlib.ExitStack() as stack:
        for owner, name, replacement in (*_replace_loading(file), *_replace_asking(file)):
            stack.enter_context(patch.object(owner, name, replacement))
        yield


def _replace_loading(file: Path | None) -> Iterator[tuple[Any, str, Any]]:
    """Yield what makes timm's networks, and loads torchvision's, and what is to do so instead."""
    import timm
    from torchvision.models import WeightsEnum

    create: Any = timm.create_model
    load = nn.Module.load_state_dict

    def supply(network: nn.Module) -> None:
        if file is not None:
            load_local_weights(network, file, lambda tensors: _leave_out_stages(tensors, network))

    def create_supplied(*arguments: Any, pretrained: bool = False, **keywords: Any) -> nn.Module:
        network: nn.Module = create(*arguments, pretrained=False, **keywords)
        if pretrained:
            supply(network)
        return network

    def load_supplied(network: nn.Module, state: Any, *arguments: Any, **keywords: Any) -> Any:
        return supply(network) if isinstance(state, _Supplied) else load(network, state, *arguments, **keywords)

    yield timm, "create_model", create_supplied
    yield WeightsEnum, "get_state_dict", lambda *_, **__: _Supplied()
    yield nn.Module, "load_state_dict", load_supplied


def _leave_out_stages(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of the stages that a network has; anomalib's end with the last layer that it looks at."""
    stages = {name.partition(".")[0] for name in network.state_dict()}
    return {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] in stages}


def _replace_asking(file: Path | None) -> Iterator[tuple[Any, str, Any]]:
    """Yield what asks a hub for the weights of CLIP and AnomalyVFM, as far as that is installed, and a replacement."""
    with contextlib.suppress(ImportError):
        clip = import_module("open_clip")
        create = clip.create_model_and_transforms
        local = None if file is None else str(file)
        yield clip, "create_model_and_transforms", lambda name, **_: create(name, pretrained=local)
    with contextlib.suppress(ImportError):
        vfm = import_module("anomalib.models.image.anomalyvfm.torch_model")
        yield vfm, "hf_hub_download", lambda **_: file
        yield vfm, "load_file", lambda _: _Supplied()


def _leave_out_loaders(module: Any) -> None:
    """Have a module keep the weights that it has when it begins to train."""
    for owner in (module, module.model):
        for name in _LOADERS:
            if hasattr(owner, name):
                setattr(owner, name, lambda *_: None)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it, anomalib and what it imports log, warn and draw nothing."""
    from tqdm import tqdm

    loggers = [logging.getLogger(name) for name in ("anomalib", "lightning", "timm", "open_clip", "root")]
    levels = [each.level for each in loggers]
    with warnings.catch_warnings(), patch.object(tqdm, "__init__", partialmethod(tqdm.__init__, disable=True)):
        warnings.simplefilter("ignore")
        for each in loggers:
            each.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
