"""Finished runs, with their model, ready to score."""

from dataclasses import dataclass

from safetensors import SafetensorError
from safetensors.torch import load_file

from adcli._plugins.registry import registry
from adcli.data.decoding import Size
from adcli.errors import RunError
from adcli.nn.devices import pick_device
from adcli.nn.model import Model
from adcli.nn.runtime import ModelRuntime
from adcli.nn.weights import Undrawn
from adcli.pipeline._building import build_model
from adcli.pipeline.settings import NOT_SETTINGS, TrainSettings, parse_size
from adcli.runs.run import Run
from adcli.specs import ModelSpec


@dataclass(frozen=True)
class Restored:
    """A run's model and what it was made with.

    Attributes:
        model: on the CPU, in evaluation mode.
        spec: the model's spec.
        settings: the settings of the run.
        size: height and width that the model takes.
    """

    model: Model
    spec: ModelSpec
    settings: TrainSettings
    size: Size


def restore(run: Run) -> Restored:
    """Restore a run's model; nothing is downloaded and nothing unpickled.

    Raises:
        RunError: the weights are damaged or do not fit.
        PluginError: the model's plugin is missing or incompatible.
    """
    provided = registry().models.find_maker(run.record["model"], run.record["plugin"], run.path)
    settings = TrainSettings.parse({key: value for key, value in run.settings.items() if key not in NOT_SETTINGS})
    size = parse_size(str(settings.image_size))
    options = provided.spec.options.parse(settings.options)
    with Undrawn():
        model = build_model(provided, options, size, pretrained=False)
    weights = run.verified_weights()
    try:
        model.restore(load_file(weights))
    except SafetensorError as error:
        raise RunError(f"{weights}: cannot be read ({error}).") from None
    return Restored(model, provided.spec, settings, size)


def run_runtime(run: Run, device: str) -> tuple[ModelRuntime, Size]:
    """Return what scores images with a run's model on a device, and the size of image it takes; see :func:`restore`."""
    restored, chosen = restore(run), pick_device(device)
    return ModelRuntime(restored.model.to(chosen), chosen), restored.size
