"""Heavy packages in less time: without searches for garbage, and timm and torchvision without torch's compiler."""

import atexit
import functools
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

COMPILER = ("torch._dynamo", "torch._dynamo.utils")


_lasting = False


def let_imports_last() -> None:
    """Leave what is imported under :func:`without_collection` out of every later search for garbage, until the exit.

    Saves a tenth to a quarter of a second for each of the searches that would go through all of torch; a command makes
    about three. Only for a process that is ours.
    """
    global _lasting
    if not _lasting:
        _lasting = True
        # Otherwise the interpreter would not take it apart, and libraries that count their objects would complain.
        atexit.register(gc.unfreeze)


@contextmanager
def without_collection() -> Iterator[None]:
    """Import without searches for garbage, of which there is none: a tenth of the time that torch takes."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if _lasting:
                gc.freeze()
            gc.enable()


def import_light(name: str) -> Any:
    """Import a module that imports torchvision or timm.

    These take two functions from torch's compiler, which takes longer to import than torch itself, 3 s. While the
    module is imported, stand-ins offer them, and import the compiler where they are called.
    """
    if any(module in sys.modules for module in COMPILER):
        return import_module(name)
    sys.modules.update({module: _StandIn(module) for module in COMPILER})
    try:
        with without_collection():
            return import_module(name)
    finally:
        _take_away()


def _take_away() -> None:
    for module in COMPILER:
        if isinstance(sys.modules.get(module), _StandIn):
            del sys.modules[module]


class _StandIn(ModuleType):
    """A module of the compiler as far as it is needed; whoever wants more gets the real one."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("disable", "is_compile_supported"):
            return getattr(self, f"_{name}")
        _take_away()
        return getattr(import_module(self.__name__), name)

    @staticmethod
    def _is_compile_supported(device_type: Any) -> Any:
        return import_module(COMPILER[1]).is_compile_supported(device_type)

    @staticmethod
    def _disable(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Callable[..., Any]:
        @functools.cache
        def disabled() -> Callable[..., Any]:
            found: Callable[..., Any] = import_module(COMPILER[0]).disable(function, *arguments, **keywords)
            return found

        return functools.wraps(function)(lambda *args, **kwargs: disabled()(*args, **kwargs))
