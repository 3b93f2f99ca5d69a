"""From settings to the things they name: options with the backbone that can be had, device, precision, model."""

import random
from dataclasses import dataclass, replace

import numpy as np
import torch

from adcli import distributed
from adcli.backbones import FALLBACK, UNTRAINED_FALLBACK
from adcli.data.decoding import Size
from adcli.errors import OptionError, PluginError, TrainingError
from adcli.model import Model
from adcli.options import BackboneOptions, Options
from adcli.pipeline.datasets import with_absolute_paths
from adcli.progress import Progress
from adcli.registry import Provided, registry
from adcli.settings import BATCH_SIZE, TrainSettings
from adcli.specs import ModelSpec
from adcli.weights import weights_unavailable


def choose_batch_size(spec: ModelSpec, settings: TrainSettings, progress: Progress) -> int:
    """Return the batch size asked for, else, on the demo data, the one that suits the model there."""
    if settings.batch_size is not None:
        return settings.batch_size
    if settings.data is None and spec.demo_batch_size is not None:
        progress.note(f"demo data: using --batch-size {spec.demo_batch_size}")
        return spec.demo_batch_size
    return BATCH_SIZE


@dataclass(frozen=True)
class ChosenOptions:
    """A model's options, and what became of its default backbone.

    Attributes:
        options: the options the model is made with.
        default_backbone: the default that was replaced, or None.
        reason: why it was replaced, or None.
    """

    options: Options
    default_backbone: str | None = None
    reason: str | None = None


def choose_options(spec: ModelSpec, settings: TrainSettings, progress: Progress) -> ChosenOptions:
    """Parse the model's options; replace a default backbone that cannot be had, and say so.

    A backbone that the user named is never replaced.
    """
    values = dict(settings.options)
    if settings.data is None:
        suited = {key: value for key, value in spec.demo.items() if key not in values}
        if suited:
            progress.note(f"demo data: using {' '.join(f'-o {key}={value}' for key, value in suited.items())}")
        values |= suited
    options = with_absolute_paths(spec.options.parse(values))
    if not isinstance(options, BackboneOptions) or options.weights is not None or "backbone" in values:
        return ChosenOptions(options)
    reason = weights_unavailable(options.backbone)
    if reason is None:
        return ChosenOptions(options)
    return ChosenOptions(_fall_back(options, reason, progress), options.backbone, reason)


def _fall_back(options: BackboneOptions, reason: str, progress: Progress) -> BackboneOptions:
    if registry().backbones.get(FALLBACK) is not None:
        progress.note(f"backbone {options.backbone}: {reason} Using '{FALLBACK}' instead.")
        return replace(options, backbone=FALLBACK)
    progress.note(
        f"warning: backbone {options.backbone}: {reason} Using '{UNTRAINED_FALLBACK}', which has learnt nothing: "
        "expect poor results. Install adcli-embedded, or use -o weights=FILE."
    )
    return replace(options, backbone=UNTRAINED_FALLBACK)


def pick_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` is the first CUDA GPU, else the CPU.

    Of several processes on a machine, each has a GPU of its own: for ``auto`` and ``cuda``, that of its number there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if distributed.world_size() == 1:
            return torch.device(name)
    if distributed.world_size() > 1 and name.startswith("cuda"):
        return _own_gpu(name)
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"--device {name}: not available here ({' '.join(str(error).split())[:120]}).") from None
    return device


def _own_gpu(name: str) -> torch.device:
    if name != "cuda":
        raise OptionError(f"--device {name}: each process needs a GPU of its own; use auto or cuda.")
    number, available = distributed.local_rank(), torch.cuda.device_count()
    if number >= available:
        raise OptionError(
            f"--device cuda: more processes than GPUs ({available}) on a machine; start as many, or use --device cpu."
        )
    return torch.device("cuda", number)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type to fit in; ``auto`` is float32, as no step has been shown to lose nothing by less."""
    if name == "fp16" and device.type != "cuda":
        raise OptionError(f"--precision fp16: needs a CUDA device, not {device.type}; use bf16 or fp32.")
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name, torch.float32)


def make_repeatable(seed: int) -> None:
    """Seed every generator a model may draw from, and keep GPUs to exact float32 and repeatable algorithms."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def build_model(provided: Provided[ModelSpec], options: Options, size: Size, *, pretrained: bool) -> Model:
    """Make a model from its spec.

    Raises:
        PluginError: the spec's target is no model, or fails with anything but an ``AdcliError``.
    """
    model_class = provided.load(provided.spec.target)
    if not (isinstance(model_class, type) and issubclass(model_class, Model)):
        raise PluginError(f"model '{provided.spec.name}' of {provided.plugin}: {provided.spec.target} is no Model.")

    def make() -> Model:
        try:
            return model_class(options, image_size=size, pretrained=pretrained)
        except torch.OutOfMemoryError:
            raise TrainingError(
                f"model '{provided.spec.name}': not enough memory to make it; see its options."
            ) from None

    return provided.guarded("it cannot be made", make)
