"""Export runs to OpenVINO, and score images with the export on a machine without torch."""

from typing import Literal

from adcli import ExporterSpec, Options, hookimpl, option


class OpenvinoOptions(Options):
    """Options of ``adcli export --to openvino``."""

    precision: Literal["fp32", "fp16", "bf16", "int8"] = option(
        "fp32",
        "fp16 halves the file and computes in float32, bf16 and int8 compute in fewer bits, faster.",
    )
    batch: int | None = option(None, "Images per call; none for any number.", ge=1)
    tolerance: float | None = option(
        None,
        "Largest difference of a score from the run's, relative to the range of good scores; none for 0.001 (fp32), "
        "0.01 (fp16) or 0.25 (bf16, int8).",
        gt=0,
    )
    auroc_drop: float = option(
        0.01, "Largest drop of the image AUROC with bf16 and int8, if the data set has labelled defects to test.", gt=0
    )
    images: int = option(100, "Largest number of good images that int8 takes its ranges from.", ge=1)


@hookimpl
def adcli_exporters() -> list[ExporterSpec]:
    return [
        ExporterSpec(
            name="openvino",
            target="adcli_openvino.export:export",
            runtime="adcli_openvino.runtime:load",
            options=OpenvinoOptions,
            summary="OpenVINO IR, in the layout of OpenVINO Model Server",
            devices=("gpu", "npu"),
        )
    ]
