"""Fitting a model in two processes at a time, for the rule that they agree with one."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from adcli.nn import distributed
from adcli.options import Options
from adcli.specs import ModelSpec, load_target

_CODE = (
    "import sys; from adcli.testing.processes import score_as_one_of_several; score_as_one_of_several(*sys.argv[1:])"
)


def scores_of_two_processes(spec: ModelSpec, options: Options) -> list[Tensor]:
    """Fit in two processes, each with half the batch, and return each one's scores of good and damaged images."""
    classes = (spec.target, f"{spec.options.__module__}:{spec.options.__qualname__}")
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / f"{i}.safetensors" for i in range(2)]
        started = [
            subprocess.Popen(
                [sys.executable, "-c", _CODE, *classes, json.dumps(options.to_dict(), default=str), str(output)],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for output, environment in zip(outputs, environments(len(outputs)), strict=True)
        ]
        said = [process.communicate()[1].strip().splitlines()[-1:] for process in started]
        assert not any(process.returncode for process in started), f"fitting in two processes failed: {said}"
        return [safetensors.torch.load_file(output)["scores"] for output in outputs]


def environments(count: int) -> list[dict[str, str]]:
    """Return what torchrun sets for processes that meet at a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    return [{**common, "RANK": str(i), "LOCAL_RANK": str(i)} for i in range(count)]


def score_as_one_of_several(target: str, options_class: str, values: str, output: str) -> None:
    """Fit as one of several processes and write the scores; what each process runs.

    Args:
        target: of the model's spec.
        options_class: likewise, as ``"package.module:Name"``.
        values: the options, as JSON.
        output: file to write.
    """
    from adcli.testing.models import Subject, damaged_images, good_images, unregistered

    torch.set_num_threads(1)
    spec = ModelSpec(name="checked", target=target, options=load_target(options_class), summary="")
    subject = Subject(unregistered(spec), json.loads(values))
    with distributed.joined():
        model = subject.fit(batch_size=2)
        scores = subject.scores(torch.cat([good_images(), damaged_images()]), model).image
    safetensors.torch.save_file({"scores": scores.contiguous()}, output)
