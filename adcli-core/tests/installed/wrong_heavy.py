"""A plugin, as installed, that imports torch to describe its backbone."""

import torch

from adcli import BackboneSpec, hookimpl


@hookimpl
def adcli_backbones() -> list[BackboneSpec]:
    summary = f"a test backbone for {torch.get_num_threads()} threads"
    return [BackboneSpec(name="wrong_heavy", target="wrong_backbones.networks:right", summary=summary)]
