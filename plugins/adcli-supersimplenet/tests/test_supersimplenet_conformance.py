"""SuperSimpleNet keeps every rule for models."""

from adcli.testing import Check, conformance


@conformance("supersimplenet")
def test_supersimplenet_conforms(check: Check) -> None:
    check()
