"""What bash, zsh and fish complete: commands, names, keys, choices and paths; and the scripts that have them ask."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from adcli._plugins.registry import Names, registry
from adcli.errors import AdcliError
from adcli.options import Options

Items = Iterator[str | CompletionItem]


def complete(kind: str | Sequence[str], ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return what an option or argument of a kind could be; nothing if that cannot be told."""
    try:
        found = KINDS[kind](ctx, incomplete) if isinstance(kind, str) else kind
        items = [item if isinstance(item, CompletionItem) else CompletionItem(item) for item in found]
    except (AdcliError, OSError):
        # A shell has no place for messages while somebody types; the command itself will say it.
        return []
    return [item for item in items if item.type != "plain" or item.value.startswith(incomplete)]


def _path(kind: str) -> Callable[[click.Context, str], Items]:
    return lambda ctx, incomplete: iter([CompletionItem(incomplete, type=kind)])


def _names(names: Callable[[], Names[Any]]) -> Callable[[click.Context, str], Items]:
    return lambda ctx, incomplete: (
        CompletionItem(provided.spec.name, help=provided.spec.summary) for provided in names().offered
    )


def _list_data(ctx: click.Context, incomplete: str) -> Items:
    name, colon, rest = incomplete.partition(":")
    provided = registry().datasets.get(name) if colon else None
    if colon and name == "table":
        yield CompletionItem(rest, type="file")
    elif provided is not None:
        yield from (f"{name}:{category}" for category in provided.spec.categories)
    else:
        yield from _names(lambda: registry().datasets)(ctx, incomplete)
        yield CompletionItem(incomplete, type="dir")


def _list_runs(ctx: click.Context, incomplete: str) -> Items:
    from adcli.runs.find import runs_folder

    yield "last"
    yield from sorted((file.parent.name for file in runs_folder().glob("*/run.yaml")), reverse=True)
    yield CompletionItem(incomplete, type="dir")


def _list_interrupted(ctx: click.Context, incomplete: str) -> Items:
    from adcli.runs.find import runs_folder
    from adcli.runs.run import PARTIAL

    yield from sorted(file.parent.name for file in (runs_folder() / PARTIAL).glob("*/run.yaml"))
    yield CompletionItem(incomplete, type="dir")


def _options_of(kinds: Sequence[str], *parameters: str) -> Callable[[click.Context, str], Items]:
    """Return what lists the options of what a parameter names, as one of some kinds."""

    def list_options(ctx: click.Context, incomplete: str) -> Items:
        # If the line ends with an option, click has not given an argument its name yet.
        given = next((ctx.params[name] for name in parameters if ctx.params.get(name)), next(iter(ctx.args), ""))
        for kind in kinds:
            names: Names[Any] = getattr(registry(), kind)
            folder = "folder" if kind == "datasets" and given else ""
            provided = names.get(given.partition(":")[0]) or names.get(folder or "demo")
            if provided is not None:
                yield from _pairs(provided.spec.options, incomplete)

    return list_options


def _pairs(options: type[Options], incomplete: str) -> Items:
    """Yield ``KEY=``, or ``KEY=VALUE`` if the key is there and its values are few."""
    key, equals, value = incomplete.partition("=")
    for info in options.describe():
        if not equals:
            yield CompletionItem(f"{info.name}=", help=info.help)
        elif info.name == key and info.type.startswith("path"):
            yield CompletionItem(value, type="file")
        elif info.name == key:
            yield from (f"{key}={value}" for value in _values_of(key, info.type, info.allowed))


def _values_of(key: str, kind: str, allowed: str) -> Iterable[str]:
    if key == "backbone":
        return (provided.spec.name for provided in registry().backbones.offered)
    return allowed.split(" | ") if kind.startswith("choice") else ["true", "false"] if kind == "true or false" else []


def _everything(ctx: click.Context, incomplete: str) -> Items:
    for names in registry().by_kind.values():
        yield from (provided.spec.name for provided in names.offered)


def _commands(ctx: click.Context, incomplete: str) -> Items:
    root = ctx.find_root()
    return iter(root.command.list_commands(root) if isinstance(root.command, click.Group) else [])


KINDS: dict[str, Callable[[click.Context, str], Items]] = {
    "files": _path("file"),
    "folders": _path("dir"),
    "models": _names(lambda: registry().models),
    "datasets": _names(lambda: registry().datasets),
    "backbones": _names(lambda: registry().backbones),
    "exporters": _names(lambda: registry().exporters),
    "executors": _names(lambda: registry().executors),
    "everything": _everything,
    "commands": _commands,
    "data": _list_data,
    "runs": _list_runs,
    "interrupted": _list_interrupted,
    "model_options": _options_of(["models"], "model"),
    "exporter_options": _options_of(["exporters"], "to"),
    "data_options": _options_of(["datasets"], "data", "reference"),
    "executor_options": _options_of(["executors"], "executor"),
    "checked_options": _options_of(["models", "exporters", "executors"], "name"),
}
"""What settings and commands say of their values, and how it is listed."""


class Bash(BashComplete):
    """Completion that knows that bash takes ``=`` and ``:`` for the ends of words, and offers paths beside names."""

    source_template = """\
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            plain) COMPREPLY+=("$value") ;;
            dir) compopt -o filenames; mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -d -- "$value") ;;
            file) compopt -o filenames; mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$value") ;;
        esac
    done < <(_ADCLI_LINE="${COMP_LINE:0:COMP_POINT}" _ADCLI_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace; fi
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    @staticmethod
    def _check_version() -> None:
        """Leave it to bash to complain of what it does not know."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["_ADCLI_LINE"]
        words = split_arg_string(line)
        self.incomplete = "" if line[-1:].isspace() or not words else words.pop()
        return words[1:], self.incomplete

    def format_completion(self, item: CompletionItem) -> str:
        breaks = [self.incomplete.rfind(mark) for mark in "=:" if mark in os.environ.get("_ADCLI_BREAKS", "")]
        done = self.incomplete[: max(breaks, default=-1) + 1]
        return f"{item.type},{item.value.removeprefix(done)}"


def print_script(shell: str, variable: str) -> None:
    """Print what a shell has to read once."""
    register()
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(click.Group(), {}, "adcli", variable).source())


def register() -> None:
    """Have click use our class for bash."""
    add_completion_class(Bash)
