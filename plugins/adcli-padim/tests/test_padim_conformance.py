"""PaDiM keeps every rule for models."""

from adcli.testing import Check, conformance


@conformance("padim")
def test_padim_conforms(check: Check) -> None:
    check()
