"""Print the tables of docs/performance.md, one after the other; takes about an hour and a half on two cores.

    python benchmarks/performance.py --data FOLDER --peer PYTHON

That of faiss is left out, which would have to be installed: ``neighbours.py``.
FOLDER is laid out as train/good, test, ground_truth; PYTHON that of an environment with ``anomalib[cpu]``. Run it on a
machine that does nothing else. Each table's own script takes options, to measure a part.
"""

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run the scripts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--peer", required=True)
    arguments = parser.parse_args()
    data = ["--data", arguments.data]
    tables = {
        "Whole commands": ["commands.py", *data, "--peer", arguments.peer],
        "Fitting and scoring beside decoding and a bare forward": ["loops.py", *data],
        "The coreset": ["coreset.py", *data],
        "Peak memory": ["memory.py"],
        "Epochs with and without kept features": ["epochs.py"],
        "Precision": ["precision.py", *data],
    }
    for title, (script, *options) in tables.items():
        print(f"\n## {title}\n", flush=True)
        subprocess.run([sys.executable, str(Path(__file__).with_name(script)), *options], check=True)


if __name__ == "__main__":
    main()
