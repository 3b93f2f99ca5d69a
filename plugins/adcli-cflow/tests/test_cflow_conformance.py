"""CFlow keeps every rule for models."""

from adcli.testing import Check, conformance


@conformance("cflow")
def test_cflow_conforms(check: Check) -> None:
    check()
