"""``adcli completion``."""

import click

from adcli.cli.flags import Choice, Command, operand

VARIABLE = "_ADCLI_COMPLETE"
"""Set by a shell that asks for completions; click looks at it."""


@click.command(cls=Command)
@operand("shell", "bash, zsh or fish.", type=Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that has a shell complete what you type.

    It completes commands, options, models and their options, runs, data sets and paths.

    \b
    In ~/.bashrc:
      eval "$(adcli completion bash)"
    In ~/.zshrc, after compinit:
      eval "$(adcli completion zsh)"
    In ~/.config/fish/config.fish:
      adcli completion fish | source
    """
    from adcli.cli.shells import print_script

    print_script(shell, VARIABLE)
