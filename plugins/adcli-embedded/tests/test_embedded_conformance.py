"""The embedded backbone keeps every rule for backbones."""

from adcli.testing import Check, conformance


@conformance("embedded", kind="backbone")
def test_embedded_conforms(check: Check) -> None:
    check()
