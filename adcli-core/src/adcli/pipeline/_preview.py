"""A page on which one looks at photographs before training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adcli import _system
from adcli._commands import quote
from adcli._files import storing, write_atomically
from adcli._plugins.registry import Provided, registry
from adcli.data.ahead import load_all
from adcli.data.fingerprint import relative_names
from adcli.data.framing import Zone, parse_size, read_ignored
from adcli.data.left_out import say
from adcli.data.photograph import open_photograph
from adcli.data.references import load_data
from adcli.data.samples import Sample, Splits
from adcli.data.survey import Survey, survey
from adcli.errors import DataError, OptionError, PluginError
from adcli.pipeline._building import has_their_aspect
from adcli.pipeline._pages import check_out
from adcli.progress import Progress, Silent
from adcli.report.preview import GENERATOR, ModelInput, PreviewPage, Shot, Start, render_preview, shrink
from adcli.runs.settings import TrainSettings, check_places, framing
from adcli.specs import ModelSpec

MOST = 24
"""Photographs on a page, so that a browser opens it quickly."""


def preview(settings: TrainSettings, out: Path, *, count: int = 6, progress: Progress | None = None) -> Path:
    """Write a page on which one tries zones, ignored areas, tiles and sizes on a few photographs, before training.

    Args:
        settings: the model and the data, and what the page begins with.
        out: the HTML file; a page that was written before is replaced.
        count: photographs on the page; a third of them show defects, if there are any.
        progress: receives progress and notes.

    Raises:
        OptionError: too many photographs are asked for, or the page's name is none of a page.
        DataError: there are no photographs, or one cannot be read or lacks a zone.
        StorageError: the page cannot be written, or another file is there.
    """
    if not 1 <= count <= MOST:
        raise OptionError(f"must be from 1 to {MOST}, not {count}.", option="count")
    progress = progress or Silent()
    check_out(out, GENERATOR)
    check_places(settings)
    data = load_data(settings.data, settings.data_options)
    progress.note(data.splits.description)
    say(data.splits.left_out, progress.note)
    found = survey([sample.image for sample in data.splits.train])
    start = _begin(settings)
    shots = _read_shots(choose_samples(data.splits, count), settings, found, start, progress)
    page = PreviewPage(
        title=settings.data or data.name,
        description=data.splits.description,
        command=_name_data(settings),
        windows=_system.WINDOWS,
        models=_list_models(settings.model),
        model=settings.model,
        shots=shots,
        sizes=found.sizes or [(shot.height, shot.width, 1) for shot in shots],
        start=start,
    )
    with storing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, render_preview(page))
    return out


def choose_samples(splits: Splits, count: int) -> list[Sample]:
    """Return some samples, evenly chosen: two thirds good ones to train on, and of the others such as show defects.

    Raises:
        DataError: there are none to train on.
    """
    if not splits.train:
        raise DataError("no good images to train on are left.")
    defects = [sample for sample in (*splits.test, *splits.validation) if sample.label == "defect"]
    wanted = min(count // 3, len(defects))
    return [*_spread(splits.train, count - wanted), *_spread(defects, wanted)]


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Return as many samples, or all, at even distances, the first and the last among them."""
    if count < 1 or not samples:
        return []
    places = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)
    return [samples[place] for place in places.tolist()]


def _list_models(chosen: str) -> dict[str, ModelInput]:
    """Return the input of each model that can be had, by its name."""
    models = registry().models
    specs = {chosen: models[chosen].spec}
    specs |= {name: found.spec for name in models if name != chosen and (found := _find(name))}
    return {name: ModelInput(spec.image_size, has_their_aspect(spec)) for name, spec in specs.items()}


def _find(name: str) -> Provided[ModelSpec] | None:
    """Return a model; None if several plugins offer one of its name."""
    try:
        return registry().models.get(name)
    except PluginError:
        return None


def _begin(settings: TrainSettings) -> Start:
    ignored = None if settings.ignore is None else read_ignored(Path(settings.ignore))
    looked_at, size = framing(settings, ignored), settings.image_size
    return Start(
        zones=looked_at.zones or [Zone("", box) for box in [looked_at.region] if box],
        fit=settings.fit,
        tiles=settings.tiles,
        overlap=settings.tile_overlap,
        image_size=size if size in (None, "auto") else parse_size(size),
        ignore=settings.ignore or "",
        ignored=ignored,
    )


def _read_shots(
    samples: Sequence[Sample], settings: TrainSettings, found: Survey, start: Start, progress: Progress
) -> list[Shot]:
    """Return what can be read of samples; with ``--skip-unreadable`` the others are noted."""
    white = found.white if settings.white == "auto" else int(settings.white)
    looked_at = framing(settings, start.ignored)
    names = relative_names(sample.image for sample in samples)

    def read(numbered: tuple[str, Sample]) -> Shot | DataError:
        name, sample = numbered
        try:
            photograph = open_photograph(sample.image, white=white)
            looked_at.check(photograph.size, sample.image)
        except DataError as error:
            return error
        return shrink(photograph.pixels, name, sample.defect or sample.label or "")

    results = load_all(zip(names, samples, strict=True), read, settings.workers)
    shots = []
    for result in progress.track(results, len(samples), "reading"):
        if isinstance(result, Shot):
            shots.append(result)
        elif settings.skip_unreadable:
            progress.note(f"skipped: {result.message}")
        else:
            raise result
    if not shots:
        raise DataError(f"--data {settings.data}: none of the chosen photographs can be read.")
    return shots


def _name_data(settings: TrainSettings) -> str:
    """Return the words of a training that say which data are read, and how."""
    words: list[object] = [] if settings.data is None else ["--data", settings.data]
    for key, value in settings.data_options.items():
        words += ["-d", f"{key}={value}"]
    words += [] if settings.white == "auto" else ["--white", settings.white]
    words += ["--skip-unreadable"] if settings.skip_unreadable else []
    return quote(*words)
