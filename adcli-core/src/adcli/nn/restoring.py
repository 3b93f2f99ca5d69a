"""Making models from their specs, and restoring those of finished runs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from adcli._files import named_in_text
from adcli._plugins.registry import Provided, registry
from adcli.data.decoding import Size
from adcli.errors import PluginError, RunError, one_line
from adcli.nn.model import Model
from adcli.nn.weights import Undrawn
from adcli.options import Options
from adcli.specs import ModelSpec


def build_model(provided: Provided[ModelSpec], options: Options, size: Size, *, pretrained: bool) -> Model:
    """Make a model from its spec.

    Raises:
        PluginError: the spec's target is no model, or fails with anything but an ``AdcliError``.
    """
    model_class = provided.load(provided.spec.target)
    if not (isinstance(model_class, type) and issubclass(model_class, Model)):
        raise PluginError(f"model '{provided.spec.name}' of {provided.plugin}: {provided.spec.target} is no Model.")
    model: type[Model] = model_class
    return provided.guard("it cannot be made", lambda: model(options, image_size=size, pretrained=pretrained))


def restore_model(
    name: str,
    made_by: Mapping[str, str],
    options: Mapping[str, Any],
    size: Size,
    weights: Callable[[], Path],
    run: Path,
) -> Model:
    """Make the model of a run with what it learnt, on the CPU, in evaluation mode.

    Args:
        name: of the model's spec.
        made_by: distribution and version of the plugin that made the run.
        options: of the model, as plain values.
        size: height and width of its input.
        weights: returns the file of its weights, once the model is made.
        run: the run's folder, for messages.

    Raises:
        RunError: the weights cannot be read, are damaged or do not fit.
        PluginError: the model's plugin is missing or incompatible.
    """
    provided = registry().models.find_maker(name, made_by, run)
    with Undrawn():
        model = build_model(provided, provided.spec.options.parse(options), size, pretrained=False)
    path = weights()
    tensors = load_tensors(path)
    try:
        model.restore(tensors)
    except RunError as error:
        raise RunError(f"{path}: {error.message}.") from None
    return model


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file of a run, on the CPU; raises :class:`RunError` if it cannot be read."""
    try:
        with named_in_text(path) as file:
            return load_file(file)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be read ({one_line(str(error))}).") from None
