"""The exporter keeps every rule for exporters."""

from adcli.testing import Check, conformance


@conformance("onnx", kind="exporter")
def test_onnx_conforms(check: Check) -> None:
    check()


@conformance("onnx", kind="exporter", options={"precision": "fp16", "batch": "3"})
def test_half_weights_and_a_fixed_batch_conform(check: Check) -> None:
    check()
