"""Where a backbone's weights are: local files, the hub's cache, or a hub that answers."""

import argparse
import os
import re
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from adcli._process.imports import import_light
from adcli.errors import BackboneError, one_line

WAYS_OUT = "Use -o weights=FILE for weights on disk, fill the hub's cache (HF_HOME), or choose another --backbone."
_HEADS = ("fc.", "classifier.", "head.", "aux")
_HEAD = re.compile("head|classifier|decoder|predictor|projector|mask_token")
"""What else is left out, if the network has no part of that name: what others trained their networks with."""

_STATES = ("teacher", "model_ema", "state_dict_ema", "ema", "state_dict", "model", "model_state_dict", "student")
"""Entries of checkpoints to look at first, in this order: averages of weights before the weights themselves."""

_OTHERS = ("optimizer", "optimizer_state_dict", "lr_scheduler", "scheduler", "scaler")
_ANSWER_SECONDS = 3.0
_TORCHVISION_HOST = "https://download.pytorch.org"
_DRAWS: frozenset[Any] = frozenset(
    [
        *(getattr(Tensor, name) for name in ("normal_", "uniform_")),
        *(getattr(nn.init, name) for name in ("normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_")),
        *(getattr(nn.init, name) for name in ("xavier_normal_", "xavier_uniform_")),
    ]
)


class Undrawn(TorchFunctionMode):
    """Within it, networks are made without drawing their parameters, for those that are loaded right after.

    A ResNet-18's take 0.08 s, and a model with a wide ResNet-50 and its student 1 s. What is no parameter is drawn: it
    need not be in what is loaded. Values are those that memory happens to have, so every parameter must be loaded.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        subject = args[0] if args else keywords.get("tensor")
        if function in _DRAWS and isinstance(subject, nn.Parameter):
            return subject
        return function(*args, **keywords)


def weights_unavailable(name: str) -> str | None:
    """Return why the weights of a backbone cannot be had now, or None; takes seconds, never a minute.

    Only ``timm:`` and ``torchvision:`` names depend on a hub; other backbones are taken to bring their own.
    """
    prefix, _, argument = name.partition(":")
    if prefix == "timm":
        return timm_unavailable(argument)
    return torchvision_unavailable(argument) if prefix == "torchvision" else None


def timm_unavailable(argument: str) -> str | None:
    """Return why the weights of ``timm:ARGUMENT`` cannot be had, or None."""
    from huggingface_hub import constants, try_to_load_from_cache

    config = import_light("timm.models").get_pretrained_cfg(argument)
    if config is None or not config.hf_hub_id:
        return "timm offers no weights of that name and tag."
    files = ("model.safetensors", "pytorch_model.bin")
    if any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in files):
        return None
    if constants.HF_HUB_OFFLINE:
        return "its weights are not in the hub's cache, and HF_HUB_OFFLINE is set."
    return None if _answers(constants.ENDPOINT) else f"its weights are not cached, and {constants.ENDPOINT} is silent."


def torchvision_unavailable(argument: str) -> str | None:
    """Return why the weights of ``torchvision:ARGUMENT`` cannot be had, or None."""
    file = Path(first_torchvision_weights(argument).url).name
    if (Path(torch.hub.get_dir()) / "checkpoints" / file).is_file():
        return None
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        return "its weights are not in torch's cache, and HF_HUB_OFFLINE is set."
    return None if _answers(_TORCHVISION_HOST) else f"its weights are not cached, and {_TORCHVISION_HOST} is silent."


def first_torchvision_weights(argument: str) -> Any:
    """Return torchvision's first ImageNet weights of a network, which papers used."""
    models = import_light("torchvision.models")
    return next(iter(models.get_model_weights(argument)))


def _answers(url: str) -> bool:
    """Tell whether a server answers at all, within :data:`_ANSWER_SECONDS`.

    The hub's own client retries for close to a minute, and looking up a name can block beyond any socket's time-out;
    hence a thread that is left behind.
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_ANSWER_SECONDS)
        except urllib.error.HTTPError as error:
            # A proxy answers for servers that it cannot or may not reach, with one of these.
            if error.code in (403, 407, 502, 503, 504):
                return
        except (OSError, ValueError):
            return
        answered.set()

    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(_ANSWER_SECONDS)


def load_local_weights(
    network: nn.Module, path: Path, convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None
) -> None:
    """Load a ``.safetensors`` file or a ``weights_only`` checkpoint into a network, leaving out heads.

    The weights may lie in an entry such as ``state_dict`` or ``teacher``, and their names may begin with the path of a
    module, such as ``module.backbone.``.

    Args:
        network: to load into.
        path: the file.
        convert: turns tensors, by what others call them, into those that the network calls so.

    Raises:
        BackboneError: the file is missing, unreadable, or of another network; nothing is loaded.
    """
    wanted = network.state_dict()
    problems = []
    for tensors in _find_states(_read_checkpoint(path)):
        inner = _without_prefix(tensors, wanted)
        try:
            fitting = inner if convert is None else convert(inner)
        except Exception as error:  # what is made for weights of the network may raise anything for those of others
            problems.append(one_line(error))
            continue
        problem = _find_misfit(fitting, wanted)
        if not problem:
            network.load_state_dict({key: fitting[key] for key in wanted if key in fitting}, strict=False)
            return
        problems.append(problem)
    reason = problems[0] if problems else "there are no tensors in it"
    raise BackboneError(f"{path}: not the weights of this backbone ({reason}).")


def _find_misfit(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return what does not fit, by name; empty if all parameters but those of heads are there and nothing else is."""
    for key, own in wanted.items():
        if key in tensors and tensors[key].shape != own.shape:
            return f"'{key}' has shape {tuple(tensors[key].shape)}, not {tuple(own.shape)}"
        # Counters are used in training alone, and old files lack them.
        if key not in tensors and not key.startswith(_HEADS) and not key.endswith("num_batches_tracked"):
            return f"'{key}' is missing"
    parts = {key.partition(".")[0] for key in wanted}
    for key in tensors:
        head = _HEAD.search(key.partition(".")[0]) is not None and key.partition(".")[0] not in parts
        if key not in wanted and not key.startswith(_HEADS) and not head:
            return f"it has no '{key}'"
    return ""


def _without_prefix(tensors: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors below the prefix under which most of the network's names are found, without the prefix."""
    counts: Counter[str] = Counter()
    for key in tensors:
        parts = key.split(".")
        for depth in range(len(parts)):
            if ".".join(parts[depth:]) in wanted:
                counts["".join(f"{part}." for part in parts[:depth])] += 1
    prefix = max(counts, key=lambda found: (counts[found], -len(found)), default="")
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _find_states(checkpoint: Any) -> Iterator[dict[str, Tensor]]:
    """Yield the dictionaries of tensors in a checkpoint, the averaged ones of training first, then the outermost."""
    if not isinstance(checkpoint, Mapping):
        return
    tensors = {key: value for key, value in checkpoint.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if len(tensors) > 1:
        yield tensors
    inner = [key for key, value in checkpoint.items() if isinstance(value, Mapping)]
    for key in sorted(inner, key=lambda key: _STATES.index(key) if key in _STATES else len(_STATES)):
        if key not in _OTHERS:
            yield from _find_states(checkpoint[key])


def _read_checkpoint(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise BackboneError(f"{path}: no such file (-o weights=).")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Many checkpoints hold the arguments of their training: names and values, no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise BackboneError(f"{path}: cannot be read as weights ({one_line(str(error))}).") from None
    except Exception as error:  # torch raises pickle.UnpicklingError and its own kinds for unsafe or broken files
        raise BackboneError(f"{path}: refused as weights ({type(error).__name__}).") from None
