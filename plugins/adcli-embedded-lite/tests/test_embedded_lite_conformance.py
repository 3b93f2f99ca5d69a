"""The backbones keep every rule for backbones."""

from adcli.testing import Check, conformance


@conformance("efficientnet_lite0", kind="backbone")
def test_efficientnet_lite0_conforms(check: Check) -> None:
    check()


@conformance("efficientnet_lite2", kind="backbone")
def test_efficientnet_lite2_conforms(check: Check) -> None:
    check()


@conformance("mobilenetv2", kind="backbone")
def test_mobilenetv2_conforms(check: Check) -> None:
    check()
