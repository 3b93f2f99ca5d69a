"""Samples, data sets, decoding and batches. Only :mod:`adcli.data.batches` imports torch."""

from adcli.data.samples import IMAGE_SUFFIXES, Sample, Splits, count_labels

__all__ = ["IMAGE_SUFFIXES", "Sample", "Splits", "count_labels"]
