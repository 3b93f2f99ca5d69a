"""Finished runs, ready to score."""

from pathlib import Path

from packaging.version import Version
from safetensors import SafetensorError
from safetensors.torch import load_file

from adcli.data.images import ImageSource
from adcli.errors import PluginError, RunError
from adcli.pipeline.preparation import build_model, pick_device
from adcli.pipeline.scoring import Scorer
from adcli.registry import Provided, registry
from adcli.run import Run
from adcli.runs import find_run
from adcli.settings import NOT_SETTINGS, TrainSettings, parse_size
from adcli.specs import ModelSpec


def load(reference: str | Path) -> Run:
    """Open the run that a path, a name or ``last`` stands for.

    Raises:
        RunError: there is none, or it is unfinished, damaged, or from a newer core.
    """
    return find_run(str(reference))


def open_scorer(
    run: Run,
    *,
    device: str = "auto",
    batch_size: int = 16,
    workers: int = 2,
    cache: int = 0,
    skip_unreadable: bool = False,
) -> Scorer:
    """Restore a run's model, ready to score; nothing is downloaded and nothing unpickled.

    Raises:
        RunError: the weights are damaged or do not fit.
        PluginError: the model's plugin is missing or incompatible.
    """
    provided = _provider(run)
    settings = TrainSettings.parse({key: value for key, value in run.settings.items() if key not in NOT_SETTINGS})
    size = parse_size(str(settings.image_size))
    model = build_model(provided, provided.spec.options.parse(settings.options), size, pretrained=False)
    weights = run.verified_weights()
    try:
        model.restore(load_file(weights))
    except SafetensorError as error:
        raise RunError(f"{weights}: cannot be read ({error}).") from None
    chosen = pick_device(device)
    source = ImageSource(size, workers=workers, cache_bytes=cache << 20, skip_unreadable=skip_unreadable)
    low, high = run.record["map_range"]
    return Scorer(model.to(chosen), source, run.calibration, (low, high), batch_size, chosen)


def _provider(run: Run) -> Provided[ModelSpec]:
    """Return the plugin that made the run, refusing another or an incompatible version of it."""
    made_by = run.record["plugin"]
    named = f"{made_by['distribution']} {made_by['version']}"
    provided = registry().models.get(f"{made_by['distribution']}/{run.record['model']}")
    if provided is None:
        raise PluginError(f"{run.path}: was made with {named}, which is not installed or failed to load; install it.")
    then, now = Version(made_by["version"]), Version(provided.plugin.version)
    # Before 1.0, a change of the minor version may change what is stored.
    if then.release[: 1 if then.major else 2] != now.release[: 1 if then.major else 2] or now < then:
        raise PluginError(f"{run.path}: was made with {named}; {provided.plugin} cannot read it, install {named}.")
    return provided
