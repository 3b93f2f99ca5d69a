"""Trains several models in one start, alone or under torchrun; the argument is a list of settings and folders."""

import json
import sys
from pathlib import Path

from adcli import pipeline
from adcli.nn import distributed


def main() -> None:
    """Train each."""
    with distributed.joined():
        for settings, out in json.loads(sys.argv[1]):
            pipeline.train(pipeline.TrainSettings.parse(settings), out=Path(out))


if __name__ == "__main__":
    main()
