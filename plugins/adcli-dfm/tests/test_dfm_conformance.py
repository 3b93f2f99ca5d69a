"""DFM keeps every rule for models."""

from adcli.testing import Check, conformance


@conformance("dfm")
def test_dfm_conforms(check: Check) -> None:
    check()
