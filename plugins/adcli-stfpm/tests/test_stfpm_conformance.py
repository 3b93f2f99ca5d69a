"""STFPM keeps every rule for models."""

from adcli.testing import Check, conformance


@conformance("stfpm")
def test_stfpm_conforms(check: Check) -> None:
    check()
