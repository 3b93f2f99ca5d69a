"""Where a backbone's weights are: local files, the hub's cache, or a hub that answers."""

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from adcli._files import named_in_text
from adcli._process.imports import import_light
from adcli.errors import BackboneError, one_line

WAYS_OUT = "Use -o weights=FILE for weights on disk, fill the hub's cache (HF_HOME), or choose another --backbone."
_HEADS = ("fc.", "classifier.", "head.", "aux")
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


def load_local_weights(network: nn.Module, path: Path) -> None:
    """Load a ``.safetensors`` file or a ``weights_only`` checkpoint into a network, leaving out classifier heads.

    Raises:
        BackboneError: the file is missing, unreadable, or of another network.
    """
    tensors = _read_tensors(path)
    wanted = network.state_dict()
    known = {key: value for key, value in tensors.items() if key in wanted}
    missing = [key for key in wanted if key not in known and not key.startswith(_HEADS)]
    unknown = [key for key in tensors if key not in wanted and not key.startswith(_HEADS)]
    if missing or unknown:
        raise BackboneError(f"{path}: not the weights of this backbone ('{(missing or unknown)[0]}' does not fit).")
    try:
        network.load_state_dict(known, strict=False)
    except RuntimeError as error:
        raise BackboneError(f"{path}: not the weights of this backbone ({one_line(str(error))}).") from None


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise BackboneError(f"{path}: no such file (-o weights=).")
    try:
        if path.suffix == ".safetensors":
            with named_in_text(path) as file:
                return load_file(file)
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise BackboneError(f"{path}: cannot be read as weights ({one_line(str(error))}).") from None
    except Exception as error:  # torch raises pickle.UnpicklingError and its own kinds for unsafe or broken files
        raise BackboneError(f"{path}: refused as weights ({type(error).__name__}).") from None
    tensors = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else {}
    return {key: value for key, value in tensors.items() if isinstance(value, Tensor)}
