"""The models of the installed anomalib, as ``anomalib_NAME``."""

from adcli import ModelSpec, hookimpl
from adcli_anomalib.listing import list_models


@hookimpl
def adcli_models() -> list[ModelSpec]:
    return list_models()
