"""Many models fitted by one pair of processes, which take longer to import torch than to fit all of them."""

import json
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
from torch import Tensor

from adcli.nn import distributed
from adcli.options import Options
from adcli.specs import ModelSpec
from adcli.testing.models import fit_and_score
from adcli.testing.processes import run_together

Job = tuple[str, str, str]


def job_of(spec: ModelSpec, options: Options) -> Job:
    """Return target, class of options and their values, as ``fit_and_score`` takes them."""
    return spec.target, f"{spec.options.__module__}:{spec.options.__qualname__}", json.dumps(options.to_dict())


def scores_of_each(specs: Sequence[ModelSpec], folder: Path) -> dict[Job, list[Tensor]]:
    """Return what the function ``scores_of_two_processes`` does, of each of several models."""
    jobs = list(dict.fromkeys(job_of(spec, spec.options.parse(spec.quick)) for spec in specs))
    for rank in ("0", "1"):
        (folder / rank).mkdir()
    run_together("wrong_models.pairs:fit_each", [(json.dumps(jobs), str(folder / rank)) for rank in ("0", "1")])
    files = [[folder / rank / f"{number}.safetensors" for rank in ("0", "1")] for number in range(len(jobs))]
    return {
        job: [safetensors.torch.load_file(file)["scores"] for file in pair]
        for job, pair in zip(jobs, files, strict=True)
    }


def fit_each(jobs: str, folder: str) -> None:
    """Fit each model as one of several processes and write its scores; what each process runs."""
    with distributed.joined():
        for number, (target, options_class, values) in enumerate(json.loads(jobs)):
            fit_and_score(target, options_class, values, f"{folder}/{number}.safetensors")
