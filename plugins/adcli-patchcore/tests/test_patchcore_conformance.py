"""PatchCore keeps every rule for models."""

from adcli.testing import Check, conformance


@conformance("patchcore")
def test_patchcore_conforms(check: Check) -> None:
    check()
