"""Reverse Distillation keeps every rule for models."""

from adcli.testing import Check, conformance


@conformance("reverse_distillation")
def test_reverse_distillation_conforms(check: Check) -> None:
    check()
