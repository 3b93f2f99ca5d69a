"""Load one plugin: import its module, check its hooks, and collect the specs it offers."""

import contextlib
import io
import reprlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import pluggy

from adcli import hookspecs
from adcli._plugins.offers import Plugin
from adcli._plugins.tracing import trace
from adcli.errors import PluginError, one_line, suggest
from adcli.specs import BackboneSpec, DatasetSpec, ExecutorSpec, ExporterSpec, ModelSpec, Spec, find_problem

SPEC_HOOKS: Mapping[str, type[Spec]] = {
    "adcli_models": ModelSpec,
    "adcli_datasets": DatasetSpec,
    "adcli_backbones": BackboneSpec,
    "adcli_exporters": ExporterSpec,
    "adcli_executors": ExecutorSpec,
}
"""Hooks that return lists of specs."""


def load_plugin(manager: pluggy.PluginManager, plugin: Plugin, import_module: Callable[[], ModuleType]) -> None:
    """Register a plugin's module and collect its specs; if anything fails, nothing of it stays registered."""
    printed, start = io.StringIO(), time.perf_counter()
    try:
        with contextlib.redirect_stdout(printed):
            module = trace("importing the module", plugin, import_module)
            _check_module(manager, module)
            # pluggy checks here that every implementation takes only what its hook passes.
            manager.register(module, plugin.key)
            plugin.specs = list(_collect_specs(manager, plugin))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # Plugins may raise anything, even SystemExit.
        plugin.fail("", error)
        # pluggy keeps what it registered before the hook that failed.
        if manager.has_plugin(plugin.key):
            manager.unregister(name=plugin.key)
    plugin.load_seconds = time.perf_counter() - start
    if printed.getvalue().strip():
        plugin.warn(f"printed to stdout while it was loaded ('{one_line(printed.getvalue())[:60]}')")


def _check_module(manager: pluggy.PluginManager, module: ModuleType) -> None:
    """Refuse a module that is registered already, unknown hooks, and wrappers."""
    if manager.is_registered(module):
        raise PluginError(f"its module '{module.__name__}' already belongs to {manager.get_name(module)}")
    known = [name for name in vars(hookspecs) if name.startswith("adcli_")]
    for attribute in dir(module):
        marks: Mapping[str, Any] | None = manager.parse_hookimpl_opts(module, attribute)
        if marks is None:
            continue
        name = marks.get("specname") or attribute
        # A wrapper would see the results of every other plugin.
        if marks.get("wrapper") or marks.get("hookwrapper"):
            raise PluginError(f"hook wrappers like its '{name}' are not supported")
        if name not in known and not marks.get("optionalhook"):
            raise PluginError(f"unknown hook '{name}'.{suggest(name, known)}")


def _collect_specs(manager: pluggy.PluginManager, plugin: Plugin) -> Iterator[Spec]:
    for hook, spec_type in SPEC_HOOKS.items():
        names: set[str] = set()
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin_name != plugin.key:
                continue
            for spec in trace(hook, plugin, partial(_call_spec_hook, hook, spec_type, implementation.function)):
                if spec.name in names:
                    where = defined_at(implementation.function)
                    raise PluginError(f"{hook} returned two specs with the name '{spec.name}'{where}")
                names.add(spec.name)
                yield spec


def _call_spec_hook(hook: str, spec_type: type[Spec], function: Callable[[], Any]) -> list[Spec]:
    """Call a hook that returns specs, and check what it returns."""
    returned, where = function(), defined_at(function)
    if isinstance(returned, (str, Mapping)) or not isinstance(returned, Iterable):
        raise PluginError(f"{hook} returned {reprlib.repr(returned)} instead of a list of {spec_type.__name__}{where}")
    specs = list(returned)
    for spec in specs:
        if not isinstance(spec, spec_type):
            raise PluginError(f"{hook} returned {spec!r} instead of a {spec_type.__name__}{where}")
        problem = find_problem(spec)
        if problem:
            raise PluginError(f"{hook} returned a {problem}{where}")
    return specs


def defined_at(function: Callable[..., Any]) -> str:
    """Return where a hook is defined, as ``", FILE:12"``; empty if it is no function of Python."""
    code = getattr(function, "__code__", None)
    return f", {code.co_filename}:{code.co_firstlineno}" if code else ""
