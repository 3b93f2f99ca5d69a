"""Train, load, evaluate, predict, export and measure: what the command line calls, and a notebook can call.

Example::

    from adcli import pipeline

    trained = pipeline.train(pipeline.TrainSettings(model="patchcore", data="photos/bottle"))
    for prediction in pipeline.predict(trained.run, ["photos/new"]):
        print(prediction.path, prediction.score, prediction.is_defect)

Each name is imported when it is first used: predicting with an export, which needs no torch, imports none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adcli.exports import Export
    from adcli.pipeline.categories import CategoryResult, TrainedCategories, train_categories
    from adcli.pipeline.differences import Standing, Standings, compare_runs
    from adcli.pipeline.evaluation import Evaluation
    from adcli.pipeline.exporting import export
    from adcli.pipeline.inspection import Finding, Inspection, inspect_data
    from adcli.pipeline.opening import find, load, open_scorer
    from adcli.pipeline.recalibration import recalibrate
    from adcli.pipeline.timing import Timings, bench
    from adcli.pipeline.training import Trained, resume, train
    from adcli.pipeline.use import Prediction, draw, evaluate, predict, report
    from adcli.settings import TrainSettings

__all__ = [
    "CategoryResult",
    "Evaluation",
    "Export",
    "Finding",
    "Inspection",
    "Prediction",
    "Standing",
    "Standings",
    "Timings",
    "TrainSettings",
    "Trained",
    "TrainedCategories",
    "bench",
    "compare_runs",
    "draw",
    "evaluate",
    "export",
    "find",
    "inspect_data",
    "load",
    "open_scorer",
    "predict",
    "recalibrate",
    "report",
    "resume",
    "train",
    "train_categories",
]

_HOMES = {
    "adcli.exports": ("Export",),
    "adcli.pipeline.categories": ("CategoryResult", "TrainedCategories", "train_categories"),
    "adcli.pipeline.differences": ("Standing", "Standings", "compare_runs"),
    "adcli.pipeline.evaluation": ("Evaluation",),
    "adcli.pipeline.exporting": ("export",),
    "adcli.pipeline.inspection": ("Finding", "Inspection", "inspect_data"),
    "adcli.pipeline.opening": ("find", "load", "open_scorer"),
    "adcli.pipeline.recalibration": ("recalibrate",),
    "adcli.pipeline.timing": ("Timings", "bench"),
    "adcli.pipeline.training": ("Trained", "resume", "train"),
    "adcli.pipeline.use": ("Prediction", "draw", "evaluate", "predict", "report"),
    "adcli.settings": ("TrainSettings",),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name on first use; without torch, one that needs it raises :class:`PluginError`."""
        from adcli.errors import needing_torch
        from adcli.imports import without_collection

        home = next((module for module, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with needing_torch(), without_collection():
            return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
