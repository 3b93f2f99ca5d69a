"""From settings to the things they name: data, options with the backbone that can be had, device, model."""

import hashlib
import os
import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adcli.backbones import FALLBACK, UNTRAINED_FALLBACK
from adcli.data.decoding import Size
from adcli.data.samples import Splits
from adcli.errors import DataError, OptionError, PluginError, TrainingError
from adcli.model import Model
from adcli.options import BackboneOptions, Options
from adcli.progress import Progress
from adcli.registry import Provided, registry
from adcli.settings import BATCH_SIZE, TrainSettings
from adcli.specs import ModelSpec
from adcli.weights import weights_unavailable


@dataclass(frozen=True)
class Data:
    """A data set and how it is named in the run.

    Attributes:
        reference: what to give to ``--data`` to have it again, from any folder; None for the demo data.
        name: a short name for the run's folder.
        splits: its samples.
    """

    reference: str | None
    name: str
    splits: Splits


def load_data(reference: str | None, options: dict[str, Any]) -> Data:
    """Load what ``--data`` names: a folder, ``NAME`` or ``NAME:CATEGORY`` of a data set, or the demo data for None.

    Raises:
        DataError: no such folder or data set, or it cannot be used.
    """
    if reference is not None and (Path(reference).exists() or _looks_like_path(reference)):
        folder = Path(os.path.abspath(reference))  # noqa: PTH100 - unlike resolve(), it keeps links, and drops ".."
        return Data(str(folder), folder.name, _load("folder", None, {"root": folder, **options}))
    name, _, category = (reference or "demo").partition(":")
    if registry().datasets.get(name) is None:
        try:
            return Data(reference, name, _load(name, category or None, options))
        except OptionError as error:
            raise DataError(f"--data {reference}: there is no such folder, and it is an {error.message}") from None
    return Data(reference, category or name, _load(name, category or None, options))


def _looks_like_path(reference: str) -> bool:
    return (
        reference.startswith((".", "~"))
        or "\\" in reference
        or reference.endswith("/")
        or Path(reference).is_absolute()
    )


def _load(name: str, category: str | None, options: dict[str, Any]) -> Splits:
    provided = registry().datasets[name]
    load = provided.load(provided.spec.target)
    splits = load(provided.spec.options.parse(options), category)
    if not isinstance(splits, Splits):
        raise PluginError(f"data set '{name}' of {provided.plugin} returned {type(splits).__name__} instead of Splits.")
    return splits


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
    options = spec.options.parse(values)
    if isinstance(options, BackboneOptions) and options.weights is not None:
        # The run is to be repeated from any folder.
        options = replace(options, weights=options.weights.absolute())
        return ChosenOptions(options)
    if not isinstance(options, BackboneOptions) or "backbone" in values:
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
    """Return the device of that name; ``auto`` is the first CUDA GPU, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"--device {name}: not available here ({' '.join(str(error).split())[:120]}).") from None
    return device


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
    try:
        return model_class(options, image_size=size, pretrained=pretrained)
    except torch.OutOfMemoryError:
        raise TrainingError(f"model '{provided.spec.name}': not enough memory to make it; see its options.") from None


def fingerprint(images: Sequence[Path], workers: int) -> str:
    """Return a sha256 over the names and contents of images: equal if and only if the data are.

    Raises:
        DataError: an image cannot be read.
    """
    paths = sorted(images)
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        digests = list(pool.map(_content_digest, paths))
    lines = (f"{name} {digest}\n" for name, digest in zip(relative_names(paths), digests, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _content_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None


def relative_names(paths: Iterable[Path]) -> list[str]:
    """Return the paths relative to the folder they have in common, so that no user's home is written into a run."""
    listed = list(paths)
    folders = {path.parent for path in listed}
    if not folders:
        return []
    root = min(folders, key=lambda folder: len(folder.parts))
    while not all(folder.is_relative_to(root) for folder in folders):
        root = root.parent
    return [path.relative_to(root).as_posix() for path in listed]
