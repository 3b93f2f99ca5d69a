"""A plugin, as installed, whose module imports torch, and whose data set fails without options."""

import torch
from wrong_datasets import RIGHT, TORN

from adcli import BackboneSpec, DatasetSpec, hookimpl


@hookimpl
def adcli_backbones() -> list[BackboneSpec]:
    summary = f"a test backbone for {torch.get_num_threads()} threads"
    return [BackboneSpec(name="wrong_heavy", target="wrong_backbones.networks:right", summary=summary)]


@hookimpl
def adcli_datasets() -> list[DatasetSpec]:
    return [RIGHT, TORN]
