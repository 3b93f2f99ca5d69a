"""Builds the pages with Sphinx: ``nox -s docs``. The pages are Markdown that reads as well where it lies.

The source folder is the whole repository, so that links between pages and packages are the same in both.
"""

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

NAVIGATION = {
    "Finding defects": [
        "docs/install",
        "docs/first-run",
        "docs/your-images",
        "docs/datasets",
        "docs/choosing",
        "docs/known-defects",
        "docs/gallery",
        "docs/thresholds",
        "docs/verdicts",
        "docs/parts",
        "docs/qualify",
        "docs/updating",
        "docs/runs",
        "docs/report",
        "docs/metrics",
        "docs/sweeps",
        "docs/comparing",
        "docs/exports",
        "docs/python",
        "docs/verify",
        "docs/scaling",
        "docs/backbones",
        "docs/offline",
        "docs/models",
        "docs/recipes",
        "docs/performance",
    ],
    "Writing plugins": [
        "docs/plugins/index",
        "docs/plugins/tutorial",
        "docs/plugins/adcli_models",
        "docs/plugins/adcli_datasets",
        "docs/plugins/adcli_backbones",
        "docs/plugins/adcli_exporters",
        "docs/plugins/adcli_executors",
        "docs/plugins/adcli_commands",
        "docs/plugins/adcli_run_finished",
        "docs/plugins/options",
        "docs/plugins/backbones",
        "docs/plugins/training",
        "docs/plugins/layers",
        "docs/plugins/errors",
        "docs/plugins/testing",
        "docs/plugins/api",
    ],
    "Packages": ["adcli-core/README", "plugins/*/README"],
    "Contributing": ["CONTRIBUTING", "docs/architecture", "CODE_OF_CONDUCT", "SECURITY", "RELEASING", "CHANGELOG"],
}
"""Every page, in the order of the side bar; here rather than in the pages, which have to read well without Sphinx."""

ROOT = Path(__file__).parent.parent

project = "adcli"
copyright = "the adcli maintainers, Apache-2.0"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["docs/**", "[A-Z]*.md", "adcli-core/README.md", "plugins/*/README.md"]
exclude_patterns = ["README.md", ".git", ".nox", ".venv", "build", "dist", "runs", "**/node_modules"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "adcli"
html_extra_path = ["site"]
html_static_path = ["static"]
html_css_files = ["adcli.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"sidebar_hide_name": False}

_LINK = re.compile(r"\]\(([^)#:]+)\)")
_IN_REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["adcli"]["repository"] + "/blob/main/"
"""Begins the links of plugins' READMEs, which are also read on a package index."""


def navigation() -> str:
    """Return the side bar as hidden tables of contents."""
    parts = []
    for caption, pages in NAVIGATION.items():
        glob = "\n:glob:" if any("*" in page for page in pages) else ""
        listed = "\n".join(f"/{page}" for page in pages)
        parts.append(f"\n```{{toctree}}\n:hidden:\n:caption: {caption}{glob}\n\n{listed}\n```\n")
    return "".join(parts)


def adapt(app: "Sphinx", docname: str, source: list[str]) -> None:
    """Add the navigation to the first page, and let links lead to pages here.

    A folder's page is its README, or else its code.
    """
    folder = (ROOT / docname).parent
    source[0] = source[0].replace(f"]({_IN_REPOSITORY}", "](/")

    def opened(link: re.Match[str]) -> str:
        names = (name for name in ("README.md", "__init__.py") if (folder / link[1] / name).is_file())
        return f"]({link[1].rstrip('/')}/{name})" if (name := next(names, "")) else link[0]

    source[0] = _LINK.sub(opened, source[0])
    if docname == root_doc:
        source[0] += navigation()


def setup(app: "Sphinx") -> None:
    """Register what this file adds."""
    app.connect("source-read", adapt)
