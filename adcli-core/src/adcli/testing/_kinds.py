"""The words that the rules of all kinds share. Nothing here imports torch, numpy or any rules."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from adcli.specs import Kind

KINDS: tuple[Kind, ...] = get_args(Kind)
"""The kinds of plugins that can be checked."""

WriteImages = Callable[[Path], Mapping[str, Any]]
"""Writes a small data set into an empty folder and returns the options that load it, in every category it has."""

Rules = Mapping[str, Callable[[Any], None]]
"""The rules for a kind, by name."""
