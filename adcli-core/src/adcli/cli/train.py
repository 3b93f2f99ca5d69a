"""``adcli train``."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adcli._process import joining
from adcli.cli.console import ConsoleProgress, load_pipeline, parse_pairs, print_json, print_table
from adcli.errors import AdcliError

if TYPE_CHECKING:
    from adcli.pipeline import CategoryResult, Trained, TrainedCategories
    from adcli.pipeline.settings import TrainSettings
    from adcli.runs.run import Run

_SHOWN = (("image", "auroc"), ("image", "f1_max"), ("pixel", "auroc"), ("pixel", "aupro"))
_COLUMNS = ("category", "image AUROC", "image F1-max", "pixel AUROC", "AUPRO", "fit s", "all s", "run")


@click.command()
@click.option("--model", "-m", metavar="NAME", help="Model to train, see 'adcli models'.")
@click.option("--data", metavar="REF", help="Folder, or data set NAME[:CATEGORY,...]; the demo data when left out.")
@click.option("-d", "data_options", metavar="KEY=VALUE", multiple=True, callback=parse_pairs, help="Data set option.")
@click.option("-o", "options", metavar="KEY=VALUE", multiple=True, callback=parse_pairs, help="Model option.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings, or a run.yaml to repeat.")
@click.option("--backbone", metavar="NAME", help="timm:NAME.TAG, torchvision:NAME, or see 'adcli backbones'.")
@click.option("--image-size", metavar="N|HxW", help="Size images are resized to (the model's when left out).")
@click.option("--region", metavar="X,Y,W,H", help="Part of each image to look at, in its pixels (all of it).")
@click.option("--crop", metavar="N|HxW", help="Centre of the image, or of its region, to look at (all of it).")
@click.option("--fit", metavar="HOW", help="squash, or letterbox, which keeps the aspect of images (squash).")
@click.option("--ignore", metavar="FILE", help="Image that is not zero where images are not looked at.")
@click.option("--batch-size", type=int, metavar="N", help="Images computed at a time (16).")
@click.option("--seed", type=int, metavar="N", help="Seed of every random choice (0).")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps (auto).")
@click.option("--precision", metavar="P", help="auto, fp32, bf16 or fp16, for fitting; scores are float32 (auto).")
@click.option("--workers", type=int, metavar="N", help="Threads that decode images (2).")
@click.option("--cache", type=int, metavar="MB", help="Memory for decoded images (256).")
@click.option("--false-alarm-rate", type=float, metavar="A", help="Share of good images that may be rejected (0.01).")
@click.option(
    "--calibration", metavar="HOW", help="What sets the threshold: a SHARE held out (0.2), a DIR, K-fold or none."
)
@click.option("--threshold", metavar="T", help="f1 (needs labelled validation images) or a value, instead.")
@click.option("--validation", metavar="DIR", help="Labelled images for --threshold f1.")
@click.option("--skip-unreadable", is_flag=True, default=None, help="List unreadable images instead of stopping.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run folder (runs/DATE-MODEL-DATA).")
@click.option("--resume", metavar="RUN", help="Continue an interrupted run; takes no other settings.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def train(
    config: Path | None,
    backbone: str | None,
    out: Path | None,
    resume: str | None,
    as_json: bool,
    options: dict[str, str],
    data_options: dict[str, str],
    **flags: Any,
) -> None:
    """Learn from good images, and write a run.

    Fits a model, sets its threshold on good images it has not seen, evaluates it where there are test images, and
    writes a run folder. Of a data set with several categories, each has a run of its own, and a table at the end shows
    them and their mean; --out is then the folder of their folders.

    \b
    Examples:
      adcli train --model reverse_distillation            the demo data, no network needed
      adcli train --model patchcore --data photos/bottle  a folder: train/good, test/DEFECT, ground_truth
      adcli train --model padim --data mvtec_ad           every category, and the mean
      adcli train --config runs/RUN/run.yaml              the same run again
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if backbone is not None:
        options = {**options, "backbone": backbone}
    given |= {name: value for name, value in (("options", options), ("data_options", data_options)) if value}
    if resume is not None and (given or config or out):
        raise click.UsageError("--resume takes no other settings: the run continues with its own.")
    pipeline = load_pipeline()
    progress = ConsoleProgress()
    if resume is not None:
        trained = pipeline.resume(resume, progress=progress)
    else:
        settings = _settings(config, given)
        if _names_several(settings):
            _print_categories(
                pipeline.train_categories(settings, out=out, progress=progress, command=_command()), as_json
            )
            return
        trained = pipeline.train(settings, out=out, progress=progress, command=_command())
    if joining.rank() == 0:
        _print_outcome(trained, as_json)


def _settings(config: Path | None, given: dict[str, Any]) -> "TrainSettings":
    from adcli.pipeline.settings import merge, read_config

    read = read_config(config) if config is not None else {}
    if "model" not in read and "model" not in given:
        raise click.UsageError("say what to train with --model NAME; 'adcli models' lists them.")
    return merge(read, given)


def _names_several(settings: "TrainSettings") -> bool:
    from adcli.data.references import several_categories

    return several_categories(settings.data) is not None


def _command() -> str:
    return shlex.join(["adcli", *sys.argv[1:]])


def _document(run: "Run", metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    threshold = {"image": run.calibration.image_threshold, "pixel": run.calibration.pixel_threshold}
    return {"run": str(run.path), "metrics": metrics, "threshold": threshold, "promise": run.calibration.promise()}


def _print_outcome(trained: "Trained", as_json: bool) -> None:
    run, evaluation = trained.run, trained.evaluation
    metrics = evaluation.metrics if evaluation else None
    if as_json:
        print_json(_document(run, metrics))
        return
    from adcli.metrics.words import metric_lines

    click.echo(f"run        {run.path}")
    for line in metric_lines(metrics):
        click.echo(line)
    click.echo(f"threshold  {run.calibration.promise()}")
    click.echo(f"look at    {run.path / 'report.html'}    (adcli report {run.path} --open)")
    click.echo(f"go on      adcli predict {run.path} IMAGES")


def _print_categories(trained: "TrainedCategories", as_json: bool) -> None:
    """Print all categories and their mean; raises where one failed."""
    if as_json:
        print_json(_categories_document(trained))
    else:
        print_table(_COLUMNS, _rows(trained), "")
    failed = trained.failed
    if failed:
        named = ", ".join(result.category for result in failed)
        raise AdcliError(f"{len(failed)} of {len(trained.results)} categories have no run: {named}; see above.")


def _categories_document(trained: "TrainedCategories") -> dict[str, Any]:
    return {
        "dataset": trained.dataset,
        "categories": [_category_document(result) for result in trained.results],
        "mean": {"categories": len(trained.finished), **trained.mean()},
        "missing": list(trained.missing),
    }


def _category_document(result: "CategoryResult") -> dict[str, Any]:
    error = result.error and {"message": result.error.format_message(), "exit_code": result.error.exit_code}
    described = _document(result.run, result.metrics) if result.run else {"run": None, "metrics": None}
    seconds = {"seconds": {"fit": _fit_seconds(result), "all": round(result.seconds, 3)}}
    return {"category": result.category, **described, **seconds, "error": error}


def _fit_seconds(result: "CategoryResult") -> float | None:
    return result.run.record["timings"]["fit_seconds"] if result.run else None


def _rows(trained: "TrainedCategories") -> Iterator[list[str]]:
    for result in trained.results:
        what = str(result.run.path) if result.run else result.error.format_message() if result.error else ""
        seconds = [f"{value:.1f}" if value is not None else "" for value in (_fit_seconds(result), result.seconds)]
        yield [result.category, *_shown(result.metrics or {}), *seconds, what]
    finished = trained.finished
    times = [[_fit_seconds(result) or 0 for result in finished], [result.seconds for result in finished]]
    means = [f"{sum(values) / len(values):.1f}" if values else "" for values in times]
    yield [f"mean of {len(finished)}", *_shown(trained.mean()), *means, ""]


def _shown(metrics: Mapping[str, Any]) -> list[str]:
    values = [(metrics.get(level) or {}).get(name) for level, name in _SHOWN]
    return ["" if value is None else f"{value:.3f}" for value in values]
