"""The hooks a plugin can implement.

A plugin is a package with an entry point in the group ``adcli`` that names a module. The module holds functions marked
with ``@adcli.hookimpl`` and imports nothing but ``adcli`` and the standard library, so that listing what there is stays
fast. Hooks return *lists of specs*; the code that a spec names is imported when a user asks for it.
"""

from typing import TYPE_CHECKING

import pluggy

from adcli.specs import BackboneSpec, DatasetSpec, ExecutorSpec, ExporterSpec, ModelSpec

if TYPE_CHECKING:
    import click

    from adcli.runs.run import Run

hookspec = pluggy.HookspecMarker("adcli")
hookimpl = pluggy.HookimplMarker("adcli")
"""Marks a function of a plugin as the implementation of the hook of its name."""


@hookspec
def adcli_models() -> list[ModelSpec]:  # type: ignore[empty-body]
    """Return the models this plugin offers.

    Example::

        from adcli import ModelSpec, Options, hookimpl, option

        class MeanOptions(Options):
            power: float = option(2.0, "Exponent of the difference.", gt=0)

        @hookimpl
        def adcli_models():
            return [
                ModelSpec(
                    name="mean_image",
                    target="adcli_mean_image.model:MeanImage",
                    options=MeanOptions,
                    summary="Distance to the mean good image",
                    one_pass=True,
                )
            ]
    """


@hookspec
def adcli_datasets() -> list[DatasetSpec]:  # type: ignore[empty-body]
    """Return the data sets this plugin offers.

    Example::

        from adcli import DatasetSpec, Options, hookimpl

        @hookimpl
        def adcli_datasets():
            return [
                DatasetSpec(
                    name="line3",
                    target="adcli_line3.reader:load",
                    options=Options,
                    summary="Images archived by production line 3",
                )
            ]
    """


@hookspec
def adcli_backbones() -> list[BackboneSpec]:  # type: ignore[empty-body]
    """Return the backbones this plugin offers.

    Example::

        from adcli import BackboneSpec, hookimpl

        @hookimpl
        def adcli_backbones():
            return [
                BackboneSpec(
                    name="steel",
                    target="adcli_steel.network:create",
                    summary="ResNet-18 pretrained on steel surfaces",
                )
            ]
    """


@hookspec
def adcli_exporters() -> list[ExporterSpec]:  # type: ignore[empty-body]
    """Return the export formats this plugin offers.

    ``target`` is a function ``(source: ExportSource, folder, options) -> dict`` that writes a graph into a folder, and
    ``runtime`` a function ``(export: Export) -> Runtime`` that loads it and must not import torch; see
    :mod:`adcli.exports.export`. :func:`adcli.testing.conformance` checks both.

    Example::

        from adcli import ExporterSpec, Options, hookimpl

        @hookimpl
        def adcli_exporters():
            return [
                ExporterSpec(
                    name="plain",
                    target="adcli_plain.export:export",
                    runtime="adcli_plain.runtime:load",
                    options=Options,
                    summary="A plain archive of arrays",
                )
            ]
    """


@hookspec
def adcli_executors() -> list[ExecutorSpec]:  # type: ignore[empty-body]
    """Return what this plugin can have the runs of a sweep carried out by.

    ``target`` is a function ``(tasks: Sequence[Task], request: ExecutorRequest) -> Iterator[TaskOutcome]``; see
    :func:`adcli.pipeline.carry_out`, which makes one run. :func:`adcli.testing.conformance` checks it.

    Example::

        from adcli import ExecutorSpec, Options, hookimpl

        @hookimpl
        def adcli_executors():
            return [
                ExecutorSpec(
                    name="in_turn",
                    target="adcli_in_turn.executing:execute",
                    options=Options,
                    summary="One run after the other, in the process of the command",
                )
            ]
    """


@hookspec
def adcli_commands(cli: "click.Group") -> None:
    """Add commands to the ``adcli`` group.

    Example::

        import click
        from adcli import hookimpl

        @hookimpl
        def adcli_commands(cli):
            @cli.command()
            def hello():
                "Say hello."
                click.echo("hello")
    """


@hookspec
def adcli_run_finished(run: "Run") -> None:
    """Learn that a training run has finished; ``run`` is the finished run folder.

    An exception here is reported in one line and does not undo the run; what is printed goes to stderr.

    Example::

        from adcli import hookimpl

        @hookimpl
        def adcli_run_finished(run):
            print("finished", run.path)
    """
