"""Which folder of the core may import which: the table below, and nothing beyond it.

``python adcli-core/tests/test_architecture.py --record`` writes the graph into docs/architecture.md.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "adcli-core/src/adcli"
PAGE = ROOT / "docs/architecture.md"
BEGIN, END = "<!-- graph -->\n", "<!-- /graph -->"

CONTRACT = (
    "__init__",
    "_artefacts",
    "_bars",
    "_changes",
    "_commands",
    "_files",
    "_frames",
    "_locking",
    "_showing",
    "_spelling",
    "_system",
    "errors",
    "hookspecs",
    "options",
    "progress",
    "specs",
)
"""Modules at the root; together they count as one folder, "contract"."""

ALLOWED = {
    "contract": "",
    "metrics": "",
    "_plugins": "contract",
    "_process": "contract",
    "data": "contract _plugins _process",
    "pictures": "contract data",
    "scoring": "contract data metrics pictures",
    "nn": "contract _plugins _process data scoring",
    "runs": "contract _process data metrics scoring nn",
    "sweeps": "contract _plugins data metrics scoring runs",
    "report": "contract data metrics pictures scoring sweeps",
    "exports": "contract _plugins data metrics scoring runs",
    "pipeline": "contract _plugins _process data metrics pictures scoring nn report runs sweeps exports",
    "testing": "contract _plugins data scoring nn runs exports pipeline",
    "cli": "contract _plugins _process data metrics scoring runs sweeps pipeline testing",
}
"""By folder, the folders it may import: only such as stand above it here."""

TYPES_ONLY = {("contract", "runs"), ("exports", "nn")}
"""Further edges, under ``if TYPE_CHECKING`` alone."""

SHARED = (
    "_artefacts",
    "_bars",
    "_changes",
    "_commands",
    "_files",
    "_frames",
    "_locking",
    "_plugins",
    "_process",
    "_showing",
    "_spelling",
    "_system",
)
"""Private to the core, and shared by its folders."""

PRIVATE = {
    ("testing", "pipeline._export"),
}
"""Private modules that another folder imports nevertheless."""

HEAVY = ("torch", "torchvision", "timm", "adcli.nn")
"""What takes a second to import, and may be missing on a machine that only predicts."""

WITHOUT_TORCH = (
    "contract",
    "_plugins",
    "_process",
    "cli",
    "data",
    "exports",
    "metrics",
    "pictures",
    "report",
    "runs",
    "scoring",
    "sweeps",
)
"""Folders that import nothing heavy when they are imported themselves."""

NEVER_TORCH = ("data", "metrics", "pictures", "scoring")
"""Folders that import nothing heavy even later, in a function."""


class Import(NamedTuple):
    """One import: the folder and line it stands in, the module and the name it takes, and when it happens."""

    folder: str
    place: str
    module: str
    name: str
    when: Literal["at once", "later", "for types"]

    @property
    def target(self) -> str:
        """The folder it imports from; empty for other packages."""
        return folder_of(self.module) if self.module.partition(".")[0] == "adcli" else ""


def folder_of(module: str) -> str:
    """Return the folder of a module of the core, such as ``adcli.data.table``."""
    first = (module.split(".")[1:] or ["__init__"])[0]
    # ``python -m adcli`` starts the command line.
    return "contract" if first in CONTRACT else "cli" if first == "__main__" else first


def find_imports(core: Path) -> Iterator[Import]:
    """Yield every import in a tree of modules."""
    for path in sorted(core.rglob("*.py")):
        parts = path.relative_to(core.parent).with_suffix("").parts
        package = parts[:-1]
        for node, when in walk(ast.parse(path.read_text(encoding="utf-8")), "at once"):
            place = f"{path.relative_to(core).as_posix()}:{node.lineno}"
            for module, name in split_import(node, package, core):
                yield Import(folder_of(".".join(parts)), place, module, name, when)


def walk(
    node: ast.AST, when: Literal["at once", "later", "for types"]
) -> Iterator[tuple[ast.Import | ast.ImportFrom, Literal["at once", "later", "for types"]]]:
    """Yield the imports below a node, and when each happens."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, when
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        when = "for types"
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and when == "at once":
        when = "later"
    for child in ast.iter_child_nodes(node):
        yield from walk(child, when)


def split_import(node: ast.Import | ast.ImportFrom, package: tuple[str, ...], core: Path) -> Iterator[tuple[str, str]]:
    """Yield the module and the name, if any, of each part of an import statement."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
        return
    module = node.module or ""
    if node.level:
        module = ".".join((*package[: len(package) - node.level + 1], *filter(None, [module])))
    for alias in node.names:
        path = core.parent.joinpath(*module.split("."), alias.name)
        is_module = path.is_dir() or path.with_suffix(".py").is_file()
        yield (f"{module}.{alias.name}", "") if is_module else (module, alias.name)


def find_edges(imports: list[Import], *, for_types: bool) -> set[tuple[str, str]]:
    """Return which folder imports which, for types alone or otherwise."""
    found = {(item.folder, item.target) for item in imports if (item.when == "for types") == for_types}
    return {(folder, target) for folder, target in found if target and folder != target}


def parse_table(allowed: Mapping[str, str]) -> set[tuple[str, str]]:
    return {(folder, target) for folder, targets in allowed.items() for target in targets.split()}


def find_faults(core: Path, allowed: Mapping[str, str]) -> list[str]:
    """Return every import in a tree that is against the rules, and every edge of the table that nothing uses."""
    imports = list(find_imports(core))
    table = parse_table(allowed)
    types_only = find_edges(imports, for_types=True) - find_edges(imports, for_types=False) - table
    unused = (table - find_edges(imports, for_types=False)) | (TYPES_ONLY - types_only)
    faults = [f"{folder} does not import {target}: remove it from the table" for folder, target in sorted(unused)]
    for item in imports:
        edge = (item.folder, item.target)
        inside = not item.target or item.folder == item.target
        if not inside and edge not in table and not (item.when == "for types" and edge in TYPES_ONLY):
            faults.append(f"{item.place}: {item.folder} must not import {item.target}")
        private = find_private(item)
        if private and not inside and (item.folder, private) not in PRIVATE:
            faults.append(f"{item.place}: {item.module} {item.name} is private to {item.target}")
        heavy = any(f"{item.module}.{item.name}.".startswith(f"{name}.") for name in HEAVY)
        if heavy and (item.folder in NEVER_TORCH or (item.folder in WITHOUT_TORCH and item.when == "at once")):
            faults.append(f"{item.place}: {item.folder} must not import {item.module} {item.when}")
    return faults


def find_private(item: Import) -> str:
    """Return the private module or name of the core that an import takes, without ``adcli.``; or nothing."""
    parts = [part for part in (*item.module.split("."), item.name) if part]
    if parts[0] != "adcli" or not any(part.startswith("_") and not part.startswith("__") for part in parts[1:]):
        return ""
    # In what the core shares, only names that are private once more are.
    if parts[1] in SHARED and not any(part.startswith("_") for part in parts[2:]):
        return ""
    return ".".join(parts[1 : len(item.module.split("."))])


def test_the_core_keeps_to_the_table() -> None:
    faults = find_faults(CORE, ALLOWED)
    assert not faults, "\n".join(faults)


def test_the_table_has_no_cycle() -> None:
    """Each folder imports folders of earlier lines only, so no two import each other, directly or on a detour."""
    order = list(ALLOWED)
    for folder, target in parse_table(ALLOWED):
        assert order.index(target) < order.index(folder), f"{folder} must stand below {target}"


def test_the_table_names_every_folder() -> None:
    found = {folder_of(f"adcli.{path.name}") for path in CORE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    found |= {folder_of(f"adcli.{path.stem}") for path in CORE.glob("*.py")}
    assert found == set(ALLOWED)


def test_private_modules_that_others_import_are_still_there() -> None:
    used = {(item.folder, find_private(item)) for item in find_imports(CORE) if item.folder != item.target}
    assert used >= PRIVATE, f"remove {PRIVATE - used} from PRIVATE"


def test_our_plugins_touch_nothing_private() -> None:
    for package in sorted(ROOT.glob("plugins/*/src/*")):
        for item in find_imports(package):
            touched = any(part.startswith("_") for part in f"{item.module}.{item.name}".split(".")[1:])
            if item.module.partition(".")[0] == "adcli":
                assert not touched, f"{package.name}/{item.place} imports {item.module} {item.name}"


TREE = {
    "errors.py": "",
    "data/__init__.py": "import numpy\nfrom adcli.errors import DataError",
    "scoring/__init__.py": "from adcli.data import Sample",
    "nn/__init__.py": "import torch\nfrom adcli.scoring import Runtime",
    "nn/_folding.py": "",
    "runs/run.py": "def build():\n    from adcli.nn import Model",
}
SMALL = {"contract": "", "data": "contract", "scoring": "data", "nn": "scoring", "runs": "nn"}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A core of a few files, which keeps to a table of its own."""
    monkeypatch.setitem(globals(), "TYPES_ONLY", set())
    for name, code in TREE.items():
        (tmp_path / "adcli" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "adcli" / name).write_text(code)
    return tmp_path / "adcli"


def test_a_tree_that_keeps_to_its_table_has_no_faults(small: Path) -> None:
    assert find_faults(small, SMALL) == []


@pytest.mark.parametrize(
    ("file", "code", "line", "fault"),
    [
        ("data/table.py", "from adcli.runs.run import Run", 1, "data must not import runs"),
        ("data/table.py", "import adcli.runs.run", 1, "data must not import runs"),
        ("data/table.py", "from adcli import runs", 1, "data must not import runs"),
        ("data/table.py", "from ..runs import run", 1, "data must not import runs"),
        ("data/table.py", "def read():\n    from adcli.runs import run", 2, "data must not import runs"),
        ("errors.py", "if TYPE_CHECKING:\n    from adcli.runs.run import Run", 2, "contract must not import runs"),
        ("runs/find.py", "from adcli.nn._folding import fold", 1, "adcli.nn._folding fold is private to nn"),
        ("nn/model.py", "from adcli.scoring import _judge", 1, "adcli.scoring _judge is private to scoring"),
        ("runs/find.py", "import torch", 1, "runs must not import torch at once"),
        ("runs/find.py", "from adcli.nn import Model", 1, "runs must not import adcli.nn at once"),
        ("scoring/scorer.py", "def score():\n    from torch import nn", 2, "scoring must not import torch later"),
    ],
)
def test_an_import_against_the_table_is_found(small: Path, file: str, code: str, line: int, fault: str) -> None:
    (small / file).write_text(code)
    assert f"{file}:{line}: {fault}" in find_faults(small, SMALL)


def test_an_edge_that_nothing_uses_is_found(small: Path) -> None:
    (small / "runs/run.py").write_text("")
    assert find_faults(small, SMALL) == ["runs does not import nn: remove it from the table"]


def draw_graph() -> str:
    """Return the table of the page: what each folder imports, as the code has it."""
    imports = list(find_imports(CORE))
    real, types = find_edges(imports, for_types=False), find_edges(imports, for_types=True)
    lines = ["", "| folder | imports | for types only |", "|---|---|---|"]
    for folder in ALLOWED:
        always = [f"`{target}`" for target in ALLOWED if (folder, target) in real]
        typed = [f"`{target}`" for target in ALLOWED if (folder, target) in types - real]
        lines.append(f"| `{folder}` | {', '.join(always)} | {', '.join(typed)} |")
    return "\n".join([*lines, "", ""])


def replace_graph(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}{draw_graph()}{END}{rest.partition(END)[2]}"


def test_the_page_shows_the_graph_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert BEGIN in page
    assert END in page
    assert page == replace_graph(page), f"run python {Path(__file__).relative_to(ROOT)} --record"


if __name__ == "__main__" and "--record" in sys.argv:
    PAGE.write_text(replace_graph(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
