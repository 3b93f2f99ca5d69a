"""The exporter keeps every rule for exporters."""

from adcli.testing import Check, exporter_conformance


@exporter_conformance("onnx")
def test_onnx_conforms(check: Check) -> None:
    check()


@exporter_conformance("onnx", options={"precision": "fp16", "batch": "3"})
def test_half_weights_and_a_fixed_batch_conform(check: Check) -> None:
    check()
