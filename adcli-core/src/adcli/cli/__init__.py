"""The command line: parses, calls one function of the core, prints. Everything heavy is imported inside callbacks."""

import errno
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from adcli import __version__
from adcli._plugins.tracing import trace_failure
from adcli._process import joining
from adcli._process.allocation import keep_freed_memory
from adcli._process.ending import end
from adcli._process.imports import let_imports_last
from adcli.cli.bench import bench
from adcli.cli.calibrate import calibrate
from adcli.cli.check import check
from adcli.cli.compare import compare
from adcli.cli.console import report_failed_plugins
from adcli.cli.evaluate import evaluate
from adcli.cli.export import export
from adcli.cli.listing import backbones, datasets, exporters, models, plugins
from adcli.cli.plugin import plugin
from adcli.cli.predict import predict
from adcli.cli.report import report
from adcli.cli.runs import runs
from adcli.cli.train import train
from adcli.errors import OptionError, PluginError, StorageError, one_line, suggest

_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EIO)


class PluginGroup(click.Group):
    """A group whose commands plugins can add to, but not replace."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._plugin_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or self._plugin_commands().get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            report_failed_plugins()
            raise OptionError(f"unknown command '{args[0]}'.{suggest(args[0], self.list_commands(ctx))}")
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

    plugin = next((plugin for plugin in registry().plugins if name in plugin.commands), "a plugin")
    return PluginError(f"command '{name}' of {plugin} failed ({one_line(error)}).")


@click.group(cls=PluginGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="adcli")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Find defects in photographs: learn from images of good parts, then score, locate and report what departs.

    \b
    Start here:
      adcli train --model patchcore --data FOLDER    learn what good parts look like
      adcli predict last IMAGES                      score new images
      adcli models                                   what can be trained
    """
    if joining.world_size() > 1 and ctx.invoked_subcommand in cli.commands and ctx.invoked_subcommand != "train":
        raise click.UsageError(
            f"'adcli {ctx.invoked_subcommand}' works in a single process: start it without torchrun."
        )


for _command in (
    train,
    evaluate,
    predict,
    calibrate,
    compare,
    export,
    report,
    bench,
    runs,
    models,
    datasets,
    backbones,
    exporters,
    plugins,
    plugin,
):
    cli.add_command(_command)
datasets.add_command(check)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; errors a user can cause are one line on stderr.

    Args:
        arguments: without any, those of the process, which ends with the command; else SystemExit is raised.
    """
    keep_freed_memory()
    if arguments is not None:
        sys.exit(_run(arguments))
    let_imports_last()
    end(_run(None))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        with joining.joined():
            outcome: Any = cli.main(arguments, prog_name="adcli", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.ClickException as error:
        return _shown(error)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader of a pipe has seen enough; point stdout away so that nothing is flushed into it at exit.
        sys.stdout = None
        return 0
    except OSError as error:
        # What has a file's name is no failure to write to stdout, nor is what a network raises.
        if error.filename is not None or error.errno not in _NO_ROOM:
            raise
        sys.stdout = None
        return _shown(StorageError(f"cannot write the output: {error.strerror}; redirect it to where there is room."))
    return outcome if isinstance(outcome, int) else 0


def _shown(error: click.ClickException) -> int:
    if isinstance(error.__cause__, Exception):
        trace_failure(error.__cause__)
    error.show()
    return error.exit_code
