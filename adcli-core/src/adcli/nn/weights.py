"""Where a backbone's weights are: local files, the hub's cache, or a hub that answers."""

import argparse
import os
import pickle
import re
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from adcli._files import named_in_text
from adcli._process.imports import import_light
from adcli.errors import BackboneError, is_out_of_memory, one_line, refusal

WAYS_OUT = "Use -o weights=FILE for weights on disk, fill the hub's cache (HF_HOME), or choose another --backbone."
_HEADS = ("fc.", "classifier.", "head.", "aux")
_HEAD = re.compile("head|classifier|decoder|predictor|projector|mask_token")
"""What else is left out, if the network has no part of that name: what others trained their networks with."""

_STATES = ("teacher", "model_ema", "state_dict_ema", "ema", "state_dict", "model", "model_state_dict", "student")
"""Entries of checkpoints to look at first, in this order: averages of weights before the weights themselves."""

_OTHERS = ("optimizer", "optimizer_state_dict", "lr_scheduler", "scheduler", "scaler")
_DEPTH = 6
"""How deep entries are looked for in a checkpoint."""

_GIVE_OTHERS = "give a file of this network's weights (-o weights=), or choose the --backbone that they are of"
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

    Only ``timm:`` and ``torchvision:`` names depend on a hub; other backbones are taken to bring their own. Of ``A+B``,
    those of both are needed.
    """
    for one in name.split("+"):
        prefix, _, argument = one.strip().partition(":")
        find = {"timm": timm_unavailable, "torchvision": torchvision_unavailable}.get(prefix)
        reason = find(argument) if find else None
        if reason:
            return reason
    return None


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
        BackboneError: the file is missing, unreadable or of another network, has several that fit, or values that
            are not finite; nothing is loaded.
    """
    wanted = network.state_dict()
    fitting: list[_State] = []
    problems = []
    for state in _find_states(_read_checkpoint(path), wanted):
        if fitting and state.rank > fitting[0].rank:
            break
        try:
            tensors = state.tensors if convert is None else convert(state.tensors)
        except Exception as error:  # what is made for weights of the network may raise anything for those of others
            if is_out_of_memory(error):
                raise
            problems.append(_find_fault(state.tensors, wanted) or one_line(error))
            continue
        problem = _find_misfit(tensors, wanted)
        if problem:
            problems.append(problem)
        else:
            fitting.append(state._replace(tensors=tensors))
    if not fitting:
        reason = problems[0] if problems else "there are no tensors with names in it"
        raise BackboneError(f"{path}: not the weights of this backbone ({reason}); {_GIVE_OTHERS}.")
    _load(network, path, fitting)


def _load(network: nn.Module, path: Path, fitting: Sequence["_State"]) -> None:
    """Load what fits into a network, unless it is unclear which is meant, or there are no usable values in it."""
    if len(fitting) > 1:
        names = " and ".join(f"'{state.name}'" for state in fitting)
        raise BackboneError(f"{path}: {names} fit this backbone equally; save the one that is meant in its own file.")
    wanted, tensors = network.state_dict(), fitting[0].tensors
    fault = _find_fault(tensors, wanted)
    if fault:
        raise BackboneError(f"{path}: {fault}; {_GIVE_OTHERS}.")
    network.load_state_dict({key: tensors[key] for key in wanted if key in tensors}, strict=False)


def _find_fault(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return which values the network cannot compute with, by name; empty if it can with all."""
    for key, own in wanted.items():
        tensor = tensors.get(key)
        if tensor is None:
            continue
        if tensor.is_meta:
            return f"'{key}' has no values (it was saved from the meta device)"
        if tensor.layout != torch.strided or tensor.is_quantized:
            return f"'{key}' is sparse or quantised"
        if not own.is_floating_point():
            continue
        if not tensor.is_floating_point():
            return f"'{key}' has values of type {str(tensor.dtype).removeprefix('torch.')}, not float"
        # Some networks have limits that are infinite on purpose.
        if torch.isfinite(own).all() and not torch.isfinite(tensor.to(own.dtype)).all():
            return f"'{key}' has values that are not finite"
        if key.endswith("running_var") and (tensor < 0).any():
            return f"'{key}' has variances below 0"
    return ""


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


class _State(NamedTuple):
    """Tensors of a checkpoint that may be the weights.

    Attributes:
        rank: which to try first; equal if neither is to be preferred.
        name: the entry, or the prefix of their names; empty if they are all that is in the file.
        tensors: without the prefix.
    """

    rank: tuple[int, ...]
    name: str
    tensors: dict[str, Tensor]


def _find_states(checkpoint: Any, wanted: Mapping[str, Tensor]) -> list[_State]:
    """Return the dictionaries of tensors in a checkpoint: the outermost first, then averages made in training."""
    found = [state for names, tensors in _list_entries(checkpoint) for state in _without_prefix(names, tensors, wanted)]
    return sorted(found, key=lambda state: state.rank)


def _list_entries(checkpoint: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield each dictionary of tensors, with the names of the entries that lead to it."""
    # A checkpoint may contain itself.
    if not isinstance(checkpoint, Mapping) or len(names) > _DEPTH:
        return
    tensors = {key: value for key, value in checkpoint.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if len(tensors) > 1:
        yield names, tensors
    for key, value in checkpoint.items():
        if key not in _OTHERS:
            yield from _list_entries(value, (*names, one_line(key)))


def _without_prefix(names: tuple[str, ...], tensors: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> list[_State]:
    """Return the tensors below the prefix under which most of the network's names are found, without the prefix.

    Below several, if each has as many of the names, and most of those that there are.
    """
    counts: Counter[str] = Counter()
    for key in tensors:
        parts = key.split(".")
        for depth in range(len(parts)):
            if ".".join(parts[depth:]) in wanted:
                counts["".join(f"{part}." for part in parts[:depth])] += 1
    most = max(counts.values(), default=0)
    prefixes = sorted((prefix for prefix in counts if counts[prefix] == most), key=len) or [""]
    if 2 * most <= len(wanted):
        prefixes = prefixes[:1]
    entries = tuple(map(_rank, names))
    states = []
    for prefix in prefixes:
        inner = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        rank = (*entries, min(map(_rank, prefix.split(".")))) if len(prefixes) > 1 else entries
        states.append(_State(rank, ".".join(filter(None, (*names, prefix.rstrip(".")))), inner))
    return states


def _rank(name: str) -> int:
    return _STATES.index(name) if name in _STATES else len(_STATES)


def _read_checkpoint(path: Path) -> Any:
    """Return what a file holds; its first bytes say which kind of file it is, whatever its name."""
    from safetensors.torch import load_file

    if path.is_dir():
        raise BackboneError(f"{path}: is a folder; name the file of weights in it (-o weights=).")
    if not path.is_file():
        raise BackboneError(f"{path}: no such file; name a file of weights (-o weights=).")
    try:
        if _is_safetensors(path):
            with named_in_text(path) as file:
                return load_file(file)
        # Many checkpoints hold the arguments of their training: names and values, no code.
        # An open file, because torch would go by the end of a name.
        with torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as opened:
            return torch.load(opened, map_location="cpu", weights_only=True)
    except BackboneError:
        raise
    except pickle.UnpicklingError:
        raise BackboneError(
            f"{path}: refused as weights: it is damaged, or holds more than tensors, such as a whole model, whose "
            "code is not run; save the state_dict() alone: torch.save(model.state_dict(), FILE)."
        ) from None
    except Exception as error:  # torch raises its own kinds for broken files, and whatever it runs into
        refused = refusal(error)
        if refused or is_out_of_memory(error):
            raise refused or error from None
        raise BackboneError(f"{path}: cannot be read as weights ({one_line(error)}); {_GIVE_OTHERS}.") from None


def _is_safetensors(path: Path) -> bool:
    """Tell whether a file is one of safetensors: the length of its header, then the header, which is JSON.

    Raises:
        BackboneError: it is empty.
    """
    with path.open("rb") as file:
        start = file.read(9)
    if not start:
        raise BackboneError(f"{path}: is empty; {_GIVE_OTHERS}.")
    zipped = start.startswith(b"PK")
    return start[8:] == b"{" or (path.suffix == ".safetensors" and not zipped)
