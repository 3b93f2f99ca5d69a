"""Export runs to ONNX, and score images with ONNX Runtime on a machine without torch."""

from typing import Literal

from adcli import ExporterSpec, Options, hookimpl, option


class OnnxOptions(Options):
    """Options of ``adcli export --to onnx``."""

    precision: Literal["fp32", "fp16"] = option(
        "fp32", "How weights are stored: fp16 halves the file and still computes in float32."
    )
    batch: int | None = option(None, "Images per call; none for any number.", ge=1)
    tolerance: float | None = option(
        None,
        "Largest difference of a score from the run's, relative to the range of good scores; none for 0.001 (fp32) or "
        "0.01 (fp16).",
        gt=0,
    )


@hookimpl
def adcli_exporters() -> list[ExporterSpec]:
    return [
        ExporterSpec(
            name="onnx",
            target="adcli_onnx.export:export",
            runtime="adcli_onnx.runtime:load",
            options=OnnxOptions,
            summary="ONNX, opset 18, scored with ONNX Runtime",
            devices=("cuda", "tensorrt"),
        )
    ]
