"""``adcli train``."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adcli import distributed
from adcli.cli.console import ConsoleProgress, load_pipeline, parse_pairs, print_json

if TYPE_CHECKING:
    from adcli.pipeline import Trained


@click.command()
@click.option("--model", "-m", metavar="NAME", help="Model to train, see 'adcli models'.")
@click.option("--data", metavar="REF", help="Folder, or data set NAME[:CATEGORY]; the demo data when left out.")
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
    writes a run folder.

    \b
    Examples:
      adcli train --model reverse_distillation            the demo data, no network needed
      adcli train --model patchcore --data photos/bottle  a folder: train/good, test/DEFECT, ground_truth
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
        trained = pipeline.train(_settings(config, given), out=out, progress=progress, command=_command())
    if distributed.rank() == 0:
        _print_outcome(trained, as_json)


def _settings(config: Path | None, given: dict[str, Any]) -> Any:
    from adcli.settings import merge, read_config

    read = read_config(config) if config is not None else {}
    if "model" not in read and "model" not in given:
        raise click.UsageError("say what to train with --model NAME; 'adcli models' lists them.")
    return merge(read, given)


def _command() -> str:
    return shlex.join(["adcli", *sys.argv[1:]])


def _print_outcome(trained: "Trained", as_json: bool) -> None:
    run, evaluation = trained.run, trained.evaluation
    metrics = evaluation.metrics if evaluation else None
    if as_json:
        threshold = {"image": run.calibration.image_threshold, "pixel": run.calibration.pixel_threshold}
        promise = run.calibration.promise()
        print_json({"run": str(run.path), "metrics": metrics, "threshold": threshold, "promise": promise})
        return
    from adcli.words import metric_lines

    click.echo(f"run        {run.path}")
    for line in metric_lines(metrics):
        click.echo(line)
    click.echo(f"threshold  {run.calibration.promise()}")
    click.echo(f"look at    {run.path / 'report.html'}    (adcli report {run.path} --open)")
    click.echo(f"go on      adcli predict {run.path} IMAGES")
