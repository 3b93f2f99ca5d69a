"""``adcli train``."""

import contextlib
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adcli._commands import quote
from adcli._process import torchrun
from adcli.cli.console import (
    ConsoleProgress,
    describe_promise,
    load_pipeline,
    print_fact,
    print_json,
    print_line,
    print_table,
    relative,
)
from adcli.cli.flags import Command, Place, flag, json_flag, megapixels_flag, name_key, out_flag, settings
from adcli.errors import AdcliError, OptionError
from adcli.runs.settings import FIELDS, TrainSettings, merge, read_config

if TYPE_CHECKING:
    from adcli.pipeline import CategoryResult, Trained, TrainedCategories
    from adcli.runs.run import Run


@click.command(cls=Command, context_settings={"allow_extra_args": True})
@settings(*FIELDS)
@megapixels_flag
@flag(
    "--backbone",
    metavar="NAME",
    section="Model",
    complete="backbones",
    help="The same as -o backbone=NAME; A+B joins two.",
)
@flag("--config", type=Place(), metavar="FILE", section="Run", help="Take settings from a YAML file, or a run.yaml.")
@out_flag("The run (runs/DATE-MODEL-DATA).", section="Run")
@flag("--resume", metavar="RUN", section="Run", complete="interrupted", help="Continue an interrupted run.")
@json_flag
@click.pass_context
def train(
    ctx: click.Context,
    /,
    config: Path | None,
    backbone: str | None,
    out: Path | None,
    resume: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Learn from good images, and write a run.

    Fits a model, sets its threshold on good images it has not seen, evaluates it if there are test images, and writes a
    run folder. If the data set has several categories, each has a run of its own, and a table at the end shows them and
    their mean; --out is then the folder of their folders.

    \b
    Examples:
      adcli train -m patchcore             drawn demo data
      adcli train -m patchcore --data photos
      adcli train -m padim --data mvtec_ad
      adcli train --config runs/RUN/run.yaml

    \b
    In the environment:
      ADCLI_RUNS=DIR          folder of runs (runs)
      ADCLI_MAX_MEGAPIXELS=N  largest photograph (600)
    """
    if ctx.args:
        raise OptionError(_explain_extra(ctx.args[0]))
    given = _collect_given(ctx, backbone, flags)
    if resume is not None and ({*given} - {"data", "data_options"} or config or out):
        raise OptionError("takes --data and -d alone: the run has its own settings.", option="--resume")
    pipeline = load_pipeline()
    progress = ConsoleProgress()
    with _naming_config(config, given):
        if resume is not None:
            trained = pipeline.resume(resume, **given, progress=progress)
        else:
            settings = _read_settings(ctx, config, given)
            if _names_several(settings):
                _print_categories(
                    pipeline.train_categories(settings, out=out, progress=progress, command=_command()), as_json
                )
                return
            trained = pipeline.train(settings, out=out, progress=progress, command=_command())
    if torchrun.rank() == 0:
        print_trained(trained, as_json)
        if trained.not_evaluated is not None:
            raise trained.not_evaluated


def _collect_given(ctx: click.Context, backbone: str | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that were typed; --backbone is one of the model's options."""
    given = {name: value for name, value in flags.items() if value not in (None, {})}
    if backbone is not None:
        if "backbone" in given.get("options", {}):
            raise OptionError("is the same as -o backbone; give one of them.", option="--backbone")
        given["options"] = {**given.get("options", {}), "backbone": backbone}
        name_key(ctx, "backbone", "--backbone")
    return given


@contextlib.contextmanager
def _naming_config(config: Path | None, given: Collection[str]) -> Iterator[None]:
    """Have an error name a setting of a config file by the file, and not by an option that nobody typed."""
    try:
        yield
    except AdcliError as error:
        flag, _, rest = error.message.partition(" ")
        name = flag.removeprefix("--").replace("-", "_")
        if config is not None and flag.startswith("--") and name in {*FIELDS} - {*given}:
            raise type(error)(f"--config {config}: {name} {rest}") from error.__cause__
        raise


def _explain_extra(word: str) -> str:
    """Return what a word without an option before it was probably meant to be."""
    from adcli._plugins.registry import registry

    if not os.path.lexists(word) and word in registry().models:
        return f"'{word}' stands alone; a model is given as --model {quote(word)}"
    return f"'{word}' stands alone; images are given as --data {quote(word)}"


def _read_settings(ctx: click.Context, config: Path | None, given: dict[str, Any]) -> TrainSettings:
    """Join the settings of a config file with those given, and have errors name where each came from."""
    read = read_config(config) if config is not None else {}
    if "model" not in read and "model" not in given:
        raise OptionError("must be given; 'adcli models' lists what can be trained.", option="--model")
    for kind in ("options", "data_options"):
        for key in {*(read.get(kind) or {})} - {*given.get(kind, {})}:
            name_key(ctx, key, f"--config {config}: {kind}: {key}")
    try:
        return merge(read, given)
    except OptionError as error:
        if error.option in given:
            error.option = f"--{error.option.replace('_', '-')}"
        raise


def _names_several(settings: TrainSettings) -> bool:
    from adcli.data.references import several_categories

    return several_categories(settings.data) is not None


def _command() -> str:
    return quote("adcli", *sys.argv[1:])


def _describe_run(run: "Run", metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    threshold = {"image": run.calibration.image_threshold, "pixel": run.calibration.pixel_threshold}
    unlike = [{"image": name, "score": score} for name, score in run.calibration.unlike]
    promised = describe_promise(run.calibration)
    updates = {"updates": run.record["updates"]} if "updates" in run.record else {}
    return {"run": str(run.path), **updates, "metrics": metrics, "threshold": threshold, **promised, "unlike": unlike}


def print_trained(trained: "Trained", as_json: bool) -> None:
    """Print what was made, and what to do with it."""
    run, evaluation = trained.run, trained.evaluation
    metrics = evaluation.metrics if evaluation else None
    if as_json:
        problem = trained.not_evaluated
        print_json({**_describe_run(run, metrics), "not_evaluated": problem and problem.format_message()})
        return
    from adcli.metrics.words import metric_lines

    path = relative(run.path)
    print_fact("run", path)
    if run.record.get("updates"):
        step, count = run.record["updates"][-1], run.record["data"]["fitted"]
        print_fact("learnt", f"{count} good images: those of {step['run']}, and {step['fitted']} new ones")
    for line in metric_lines(metrics):
        print_line(line)
    print_fact("threshold", run.calibration.promise())
    for sentence in run.calibration.explain():
        print_fact("", sentence)
    if run.calibration.unlike:
        print_fact("unlike", run.calibration.say_unlike())
    print_fact("look at", f"{path / 'report.html'}    ({quote('adcli', 'report', path, '--open')})")
    print_fact("go on", quote("adcli", "predict", path, "IMAGES"))


def _print_categories(trained: "TrainedCategories", as_json: bool) -> None:
    """Print all categories and their mean; raises if one failed."""
    if as_json:
        print_json(_describe_categories(trained))
    else:
        print_table(_name_columns(), _rows(trained), "", typed=("category", "run"))
    failed = trained.failed
    if failed:
        named = ", ".join(result.category for result in failed)
        lacking = "a run" if all(result.run is None for result in failed) else "a run or its evaluation"
        raise AdcliError(f"{len(failed)} of {len(trained.results)} categories lack {lacking}: {named}; see above.")


def _describe_categories(trained: "TrainedCategories") -> dict[str, Any]:
    return {
        "dataset": trained.dataset,
        "categories": [_describe_category(result) for result in trained.results],
        "mean": {"categories": len(trained.finished), **trained.mean()},
        "missing": list(trained.missing),
    }


def _describe_category(result: "CategoryResult") -> dict[str, Any]:
    error = result.error and {"message": result.error.format_message(), "exit_code": result.error.exit_code}
    described = _describe_run(result.run, result.metrics) if result.run else {"run": None, "metrics": None}
    seconds = {"seconds": {"fit": _fit_seconds(result), "all": round(result.seconds, 3)}}
    return {"category": result.category, **described, **seconds, "error": error}


def _fit_seconds(result: "CategoryResult") -> float | None:
    return result.run.record["timings"]["fit_seconds"] if result.run else None


def _rows(trained: "TrainedCategories") -> Iterator[list[str]]:
    for result in trained.results:
        what = result.error.format_message() if result.error else str(relative(result.run.path)) if result.run else ""
        seconds = [f"{value:.1f}" if value is not None else "" for value in (_fit_seconds(result), result.seconds)]
        yield [result.category, *_format_metrics(result.metrics or {}), *seconds, what]
    finished = trained.finished
    times = [[_fit_seconds(result) or 0 for result in finished], [result.seconds for result in finished]]
    means = [f"{sum(values) / len(values):.1f}" if values else "" for values in times]
    yield [f"mean of {len(finished)}", *_format_metrics(trained.mean()), *means, ""]


def _name_columns() -> Sequence[str]:
    from adcli.metrics.table import list_columns

    shown = (f"{level} {metric.label}" if len(metric.levels) > 1 else metric.label for level, metric in list_columns())
    return "category", *shown, "fit s", "all s", "run"


def _format_metrics(metrics: Mapping[str, Any]) -> list[str]:
    from adcli.metrics.table import list_columns

    values = [(metrics.get(level) or {}).get(metric.key) for level, metric in list_columns()]
    return ["" if value is None else f"{value:.3f}" for value in values]
