"""Samples, data sets, decoding and batches. Only :mod:`adcli.data.batches` imports torch."""

from adcli.data.samples import Sample, Splits

__all__ = ["Sample", "Splits"]
