"""The page on data sets says of each what its spec says."""

from pathlib import Path

import pytest
from dataset_trees import SPECS

PAGE = (Path(__file__).parents[3] / "docs/datasets.md").read_text(encoding="utf-8")
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SPECS)
def test_layout_source_licence_and_command_are_the_specs(name: str) -> None:
    spec = SPECS[name]
    reference = f"{name}:{spec.categories[0]}" if spec.categories else name
    section = PAGE[PAGE.index(f"```text\n{spec.layout}```") :].partition("\n## ")[0]
    assert f"\nadcli train --model patchcore --data {reference} -d root=FOLDER\n" in section
    assert f"<{spec.source}>" in PAGE
    assert f"Licence: {spec.licence}." in " ".join(PAGE.split())
    assert f"| `{name}` |" in README
    assert f"| {spec.licence} |" in README
