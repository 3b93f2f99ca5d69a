"""GANomaly keeps every rule for models."""

from adcli.testing import Check, conformance


@conformance("ganomaly")
def test_ganomaly_conforms(check: Check) -> None:
    check()
