"""A stranger's plugin, as installed: a model, and an exporter whose graph is a NumPy archive."""

from typing import Literal

from adcli import ExporterSpec, ModelSpec, Options, hookimpl, option


class MeanOptions(Options):
    """Options of the model."""

    power: float = option(2.0, "Exponent of the difference.", gt=0)


class NpzOptions(Options):
    """Options of the exporter."""

    precision: Literal["fp32", "fp16"] = option("fp32", "How the mean image is stored.")
    error: float = option(0.0, "Added to every score, to see a wrong export refused.")


@hookimpl
def adcli_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="mean_image",
            target="adcli_mean.model:MeanImage",
            options=MeanOptions,
            summary="Distance to the mean good image",
            one_pass=True,
        )
    ]


@hookimpl
def adcli_exporters() -> list[ExporterSpec]:
    return [
        ExporterSpec(
            name="npz",
            target="adcli_mean.export:export",
            runtime="adcli_mean.runtime:load",
            options=NpzOptions,
            summary="A NumPy archive",
        )
    ]
