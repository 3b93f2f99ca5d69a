"""``python -m adcli``: the same program as ``adcli``."""

from adcli.cli import main

main()
