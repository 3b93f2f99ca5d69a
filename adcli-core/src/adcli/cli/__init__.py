"""The command line: parses, calls one function of the core, prints. Everything heavy is imported inside callbacks."""

import sys
from collections.abc import Sequence
from typing import Any

import click

from adcli import __version__, distributed
from adcli.cli.bench import bench
from adcli.cli.calibrate import calibrate
from adcli.cli.compare import compare
from adcli.cli.evaluate import evaluate
from adcli.cli.export import export
from adcli.cli.listing import backbones, datasets, exporters, models, plugins
from adcli.cli.predict import predict
from adcli.cli.report import report
from adcli.cli.runs import runs
from adcli.cli.train import train


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
            from adcli.errors import OptionError, suggest

            raise OptionError(f"unknown command '{args[0]}'.{suggest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def _plugin_commands(self) -> dict[str, click.Command]:
        from adcli.registry import registry

        added = click.Group()
        registry().call_each("adcli_commands", cli=added)
        return {name: command for name, command in added.commands.items() if name not in self.commands}


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
    if distributed.world_size() > 1 and ctx.invoked_subcommand in cli.commands and ctx.invoked_subcommand != "train":
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
):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; errors a user can cause are one line on stderr."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        with distributed.joined():
            outcome: Any = cli.main(arguments, prog_name="adcli", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader of a pipe has seen enough; point stdout away so that nothing is flushed into it at exit.
        sys.stdout = None
        return 0
    return outcome if isinstance(outcome, int) else 0
