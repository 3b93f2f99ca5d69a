"""The exporter keeps every rule for exporters."""

from adcli.testing import Check, conformance


@conformance("openvino", kind="exporter")
def test_openvino_conforms(check: Check) -> None:
    check()


@conformance("openvino", kind="exporter", options={"precision": "fp16", "batch": "3"})
def test_half_weights_and_a_fixed_batch_conform(check: Check) -> None:
    check()
