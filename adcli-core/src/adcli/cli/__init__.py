"""The command line: parses, calls one function of the core, prints. Everything heavy is imported inside callbacks."""

import contextlib
import errno
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from adcli._plugins.tracing import trace_failure
from adcli._process import torchrun
from adcli._process.allocation import keep_freed_memory
from adcli._process.ending import run_to_the_end
from adcli._process.imports import let_imports_last
from adcli._process.interruption import end_when_told, told_code
from adcli._process.output import outlive_readers
from adcli._process.streams import open_missing_streams
from adcli._process.waiting import sleep_soon
from adcli.cli.bench import bench
from adcli.cli.calibrate import calibrate
from adcli.cli.check import check
from adcli.cli.compare import compare
from adcli.cli.completion import VARIABLE, completion
from adcli.cli.console import (
    current_folder,
    report_failed_plugins,
    safe,
    show_error,
    take_any_text,
    versions,
    wants_colour,
)
from adcli.cli.crash import keep_off_terminal, show_crash
from adcli.cli.drift import drift
from adcli.cli.evaluate import evaluate
from adcli.cli.export import export
from adcli.cli.flags import Group, operand
from adcli.cli.listing import backbones, datasets, executors, exporters, models, plugins
from adcli.cli.plugin import plugin
from adcli.cli.predict import predict
from adcli.cli.preview import preview
from adcli.cli.qualify import qualify
from adcli.cli.report import report
from adcli.cli.runs import runs
from adcli.cli.sweep import sweep
from adcli.cli.train import train
from adcli.cli.update import update
from adcli.cli.verify import verify
from adcli.errors import (
    NO_DESCRIPTORS,
    LackOfMemoryError,
    OptionError,
    PluginError,
    StorageError,
    TooManyFilesError,
    is_out_of_memory,
    locate,
    refusal,
)

_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EIO)


class PluginGroup(Group):
    """A group whose commands plugins can add to, but not replace."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._plugin_commands()})

    def sections(self, ctx: click.Context) -> Mapping[str, Sequence[str]]:
        """List each plugin's commands under its name and version."""
        self._plugin_commands()
        from adcli._plugins.registry import registry

        of_plugins = {f"Commands of {plugin}": plugin.commands for plugin in registry().plugins if plugin.commands}
        return {"Commands": sorted(self.commands), **of_plugins}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or self._plugin_commands().get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None:
            report_failed_plugins()
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            name = ctx.invoked_subcommand
            if name in self.commands or isinstance(
                error, (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError)
            ):
                raise
            raise _failed_command(str(name), error) from error

    def _plugin_commands(self) -> Mapping[str, click.Command]:
        from adcli._plugins.registry import registry

        added = registry().commands(self.commands)
        # Whoever asks for help is not told of plugins that have nothing to do with it.
        report_failed_plugins(of_hooks_only=True)
        return added


def _failed_command(name: str, error: Exception) -> click.ClickException:
    from adcli._plugins.registry import registry
    from adcli._plugins.remedies import find_packages

    plugin = next(plugin for plugin in registry().plugins if name in plugin.commands)
    return PluginError(f"command '{name}' of {plugin} failed ({locate(error, *find_packages(plugin.distribution))}).")


def _print_version(ctx: click.Context, parameter: click.Parameter, given: bool) -> None:
    if given and not ctx.resilient_parsing:
        listed = list(versions())
        width = max(len(name) for name, _ in listed)
        for name, version in listed:
            click.echo(safe(f"{name:<{width}} {version}"))
        ctx.exit()


@click.group(cls=PluginGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the versions of adcli, Python, torch and the plugins.",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Learn what good parts look like from photographs, then score new ones and show where they differ.

    \b
    Start here:
      adcli train -m patchcore --data FOLDER   learn from it
      adcli predict last IMAGES    score new images
      adcli models                 what can be trained
      adcli help COMMAND           what a command does
    """
    ctx.color = wants_colour()
    if torchrun.world_size() > 1 and ctx.invoked_subcommand in cli.commands and ctx.invoked_subcommand != "train":
        raise click.UsageError(
            f"'adcli {ctx.invoked_subcommand}' works in a single process: start it without torchrun."
        )


@cli.command("help")
@operand("command", "A command, such as 'train' or 'datasets check'.", complete="commands", nargs=-1, metavar="COMMAND")
@click.pass_context
def show_help(ctx: click.Context, command: tuple[str, ...]) -> None:
    """Show what a command does, as COMMAND --help does."""
    found = ctx.find_root()
    for name in command:
        if not isinstance(found.command, click.Group):
            raise OptionError(f"'{found.command_path.removeprefix('adcli ')}' has no command '{name}'.")
        _, inner, _ = found.command.resolve_command(found, [name])
        assert inner is not None
        found = click.Context(inner, parent=found, info_name=name)
    click.echo(found.get_help())


for _command in (
    preview,
    train,
    update,
    sweep,
    evaluate,
    predict,
    calibrate,
    drift,
    compare,
    qualify,
    export,
    report,
    bench,
    verify,
    runs,
    models,
    datasets,
    backbones,
    exporters,
    executors,
    plugins,
    plugin,
    completion,
):
    cli.add_command(_command)
datasets.add_command(check)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; every error is one line on stderr.

    Args:
        arguments: without any, those of the process, which ends with the command; else SystemExit is raised.
    """
    if arguments is not None:
        sys.exit(_run(arguments))
    run_to_the_end(lambda: _run(None))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        return _run_command(arguments)
    except (click.Abort, KeyboardInterrupt):
        return told_code() or 130
    except SystemExit:
        raise
    # A library in Rust that panics raises what is no Exception.
    except BaseException as error:
        # What is raised while a command is being interrupted, such as by a library half imported, is no fault.
        return told_code() or _explain(error, sys.argv[1:] if arguments is None else arguments)


def _run_command(arguments: Sequence[str] | None) -> int:
    if arguments is None:
        _prepare_process()
    keep_freed_memory()
    if VARIABLE in os.environ:
        from adcli.cli.shells import register

        register()
    with torchrun.joined():
        outcome: Any = cli.main(arguments, prog_name="adcli", standalone_mode=False)
    if sys.stdout is not None:
        sys.stdout.flush()
    return outcome if isinstance(outcome, int) else 0


def _prepare_process() -> None:
    """Do what only a process that is ours needs."""
    open_missing_streams()
    sleep_soon()
    outlive_readers()
    take_any_text()
    keep_off_terminal()
    end_when_told()
    let_imports_last()


def _explain(error: BaseException, arguments: Sequence[str]) -> int:
    """Print what a user can do about an error, or where it is kept, and return the exit code."""
    if is_out_of_memory(error):
        return _show(LackOfMemoryError(), arguments)
    if isinstance(error, OSError) and error.errno in NO_DESCRIPTORS:
        return _show(TooManyFilesError(), arguments)
    if isinstance(error, click.ClickException):
        return _show(error, arguments)
    if isinstance(error, FileNotFoundError) and not current_folder():
        return _show(StorageError("the current folder is gone; change to another."), arguments)
    # What has a file's name is no failure to write to stdout, nor is what a network raises.
    if isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM:
        sys.stdout = None
        problem = f"cannot write the output: {error.strerror}; redirect it to where there is room."
        return _show(StorageError(problem), arguments)
    refused = refusal(error)
    return _show(refused, arguments) if refused else show_crash(error, arguments)


def _show(error: click.ClickException, arguments: Sequence[str]) -> int:
    if isinstance(error.__cause__, Exception):
        trace_failure(error.__cause__)
    if not (isinstance(error, torchrun.PeerError) and error.printed):
        # The exit code says it, too, if nobody reads stderr.
        with contextlib.suppress(OSError):
            show_error(error, arguments)
    return error.exit_code
