"""Where a plugin describes itself."""

from typing import Any

from adcli._plugins.registry import Provided, registry
from adcli._plugins.remedies import find_packages
from adcli.errors import AdcliError, OptionError, PluginError
from adcli.specs import KINDS


def packages(provided: Provided[Any], *targets: str) -> set[str]:
    """Return the top-level packages of targets, of the options' class, and of the plugin's modules."""
    options = getattr(provided.spec, "options", None)
    modules = [*targets, *([options.__module__] if options is not None else [])]
    names = {module.partition(":")[0].partition(".")[0] for module in modules}
    names.update(find_packages(provided.plugin.distribution))
    # The class of a spec without options of its own is the core's.
    return names if names == {"adcli"} else names - {"adcli"}


def declared(provided: Provided[Any]) -> Any:
    """Return the hook that returned a spec; for one that no plugin returned, the class of its options."""
    hook = getattr(registry().manager.hook, f"adcli_{KINDS[type(provided.spec)]}s")
    for implementation in hook.get_hookimpls():
        if implementation.plugin_name == provided.plugin.key:
            return implementation.function
    return getattr(provided.spec, "options", None)


def unknown(name: str, message: str) -> AdcliError:
    """Return the error for a name that no plugin offers; it says why plugins failed that may be meant to.

    Args:
        name: as it was typed.
        message: what to say of a name that belongs to no plugin that failed.
    """
    provider, _, bare = name.rpartition("/")
    likely = (provider, f"adcli-{provider}") if provider else (bare.rstrip(":"), f"adcli-{bare.rstrip(':')}")
    failed = registry().failed
    for plugin in failed:
        if any(map(plugin.is_called, likely)):
            return PluginError(f"'{name}': plugin {plugin} failed: {plugin.error}; {plugin.remedy}.")
    reasons = "".join(f" (plugin {plugin} failed: {plugin.error})" for plugin in failed)
    return OptionError(f"{message}{reasons}")
