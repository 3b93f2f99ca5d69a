"""DFKDE keeps every rule for models."""

from adcli.testing import Check, conformance


@conformance("dfkde")
def test_dfkde_conforms(check: Check) -> None:
    check()
