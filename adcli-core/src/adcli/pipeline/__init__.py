"""Train, load, evaluate, predict, export and measure: what the command line calls, and a notebook can call.

Example::

    from adcli import pipeline

    trained = pipeline.train(pipeline.TrainSettings(model="patchcore", data="photos/bottle"))
    for prediction in pipeline.predict(trained.run, ["photos/new"]):
        print(prediction.name, prediction.score, prediction.is_defect)

A service opens a run or an export once, and scores what is in memory::

    scorer = pipeline.open_scorer(pipeline.find("last"))
    (prediction,) = pipeline.predict(scorer, [uploaded_bytes])

Each name is imported when it is first used: predicting with an export, which needs no torch, imports none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adcli.data.inspection import Finding, Inspection, inspect_data
    from adcli.exports.export import Export
    from adcli.pipeline._backbones import DescribedBackbone, describe_backbone
    from adcli.pipeline._bench import Timings, bench
    from adcli.pipeline._compare import Standing, Standings, compare_runs, write_comparison
    from adcli.pipeline._drift import Drifting, drift
    from adcli.pipeline._evaluate import evaluate
    from adcli.pipeline._evaluation_pass import Evaluation
    from adcli.pipeline._export import export
    from adcli.pipeline._job import Trained
    from adcli.pipeline._manage import annotate_run, remove_run, rename_run
    from adcli.pipeline._open import calibrated_since, find, has_maps, load, open_scorer
    from adcli.pipeline._predict import draw, predict
    from adcli.pipeline._predictions import Predictions
    from adcli.pipeline._preview import preview
    from adcli.pipeline._qualify import Qualification, qualify
    from adcli.pipeline._recalibrate import calibrations, recalibrate, restore_calibration
    from adcli.pipeline._report import report
    from adcli.pipeline._sweep import SweepPlan, plan_sweep, read_results, sweep
    from adcli.pipeline._sweep_page import write_sweep_page
    from adcli.pipeline._task import carry_out
    from adcli.pipeline._train import resume, train
    from adcli.pipeline._train_categories import CategoryResult, TrainedCategories, train_categories
    from adcli.pipeline._update import update
    from adcli.pipeline._verify import Verification, record_masters, verify
    from adcli.report.map_files import write_map, write_mask
    from adcli.runs.calibrations import KeptCalibration
    from adcli.runs.run import Run
    from adcli.runs.settings import TrainSettings
    from adcli.scoring.prediction import Prediction
    from adcli.sweeps.comparing import Comparison, Contrast, compare_groups
    from adcli.sweeps.results import SweepResults
    from adcli.sweeps.summary import Mean, Summary, summarise
    from adcli.sweeps.tasks import ExecutorRequest, Task, TaskOutcome

__all__ = [
    "CategoryResult",
    "Comparison",
    "Contrast",
    "DescribedBackbone",
    "Drifting",
    "Evaluation",
    "ExecutorRequest",
    "Export",
    "Finding",
    "Inspection",
    "KeptCalibration",
    "Mean",
    "Prediction",
    "Predictions",
    "Qualification",
    "Run",
    "Standing",
    "Standings",
    "Summary",
    "SweepPlan",
    "SweepResults",
    "Task",
    "TaskOutcome",
    "Timings",
    "TrainSettings",
    "Trained",
    "TrainedCategories",
    "Verification",
    "annotate_run",
    "bench",
    "calibrated_since",
    "calibrations",
    "carry_out",
    "compare_groups",
    "compare_runs",
    "describe_backbone",
    "draw",
    "drift",
    "evaluate",
    "export",
    "find",
    "has_maps",
    "inspect_data",
    "load",
    "open_scorer",
    "plan_sweep",
    "predict",
    "preview",
    "qualify",
    "read_results",
    "recalibrate",
    "record_masters",
    "remove_run",
    "rename_run",
    "report",
    "restore_calibration",
    "resume",
    "summarise",
    "sweep",
    "train",
    "train_categories",
    "update",
    "verify",
    "write_comparison",
    "write_map",
    "write_mask",
    "write_sweep_page",
]

_HOMES = {
    "adcli.data.inspection": ("Finding", "Inspection", "inspect_data"),
    "adcli.exports.export": ("Export",),
    "adcli.pipeline._backbones": ("DescribedBackbone", "describe_backbone"),
    "adcli.pipeline._bench": ("Timings", "bench"),
    "adcli.pipeline._compare": ("Standing", "Standings", "compare_runs", "write_comparison"),
    "adcli.pipeline._drift": ("Drifting", "drift"),
    "adcli.pipeline._evaluate": ("evaluate",),
    "adcli.pipeline._evaluation_pass": ("Evaluation",),
    "adcli.pipeline._export": ("export",),
    "adcli.pipeline._manage": ("annotate_run", "remove_run", "rename_run"),
    "adcli.pipeline._open": ("calibrated_since", "find", "has_maps", "load", "open_scorer"),
    "adcli.pipeline._predict": ("draw", "predict"),
    "adcli.pipeline._predictions": ("Predictions",),
    "adcli.pipeline._preview": ("preview",),
    "adcli.pipeline._qualify": ("Qualification", "qualify"),
    "adcli.pipeline._recalibrate": ("calibrations", "recalibrate", "restore_calibration"),
    "adcli.pipeline._report": ("report",),
    "adcli.pipeline._job": ("Trained",),
    "adcli.pipeline._sweep": ("SweepPlan", "plan_sweep", "read_results", "sweep"),
    "adcli.pipeline._task": ("carry_out",),
    "adcli.pipeline._train": ("resume", "train"),
    "adcli.pipeline._train_categories": ("CategoryResult", "TrainedCategories", "train_categories"),
    "adcli.pipeline._update": ("update",),
    "adcli.pipeline._verify": ("Verification", "record_masters", "verify"),
    "adcli.report.map_files": ("write_map", "write_mask"),
    "adcli.runs.settings": ("TrainSettings",),
    "adcli.runs.calibrations": ("KeptCalibration",),
    "adcli.runs.run": ("Run",),
    "adcli.scoring.prediction": ("Prediction",),
    "adcli.pipeline._sweep_page": ("write_sweep_page",),
    "adcli.sweeps.comparing": ("Comparison", "Contrast", "compare_groups"),
    "adcli.sweeps.results": ("SweepResults",),
    "adcli.sweeps.summary": ("Mean", "Summary", "summarise"),
    "adcli.sweeps.tasks": ("ExecutorRequest", "Task", "TaskOutcome"),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name on first use; without torch, one that needs it raises :class:`PluginError`."""
        from adcli._process.imports import without_collection
        from adcli.errors import needing_torch

        home = next((module for module, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with needing_torch(), without_collection():
            return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
