"""What plugins may use of the core is recorded, and nothing of it changes unnoticed.

``python adcli-core/tests/test_public_api.py --record`` writes the record anew, and the page with a sentence of each
name, from its docstring. Both are read from the sources, so that they are the same with every version of Python and
of torch.
"""

import ast
import difflib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).parents[1] / "src"
PLUGINS = Path(__file__).parents[2] / "plugins"
RECORD = Path(__file__).with_name("public_api.txt")
PAGE = Path(__file__).parents[2] / "docs/plugins/api.md"

MODULES = (
    "adcli",
    "adcli.nn",
    "adcli.nn.distributed",
    "adcli.data",
    "adcli.scoring",
    "adcli.exports",
    "adcli.pipeline",
    "adcli.testing",
)
"""The packages whose ``__all__`` is what plugins and Python users may use."""

PYTHONS_OWN = ("__post_init__", "__init_subclass__")

ADVICE = """{changes}
The public API is not what {record} says. If that is meant, record it anew with
    python adcli-core/tests/test_public_api.py --record
and raise the version of adcli-core: the minor version for names that were added; for names that were removed or changed
the minor version before 1.0, the major version after. Say so in the changelog."""


def source_of(module: str) -> Path:
    path = CORE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def parse(module: str) -> ast.Module:
    return ast.parse(source_of(module).read_text(encoding="utf-8"))


def is_public(name: str) -> bool:
    special = name.startswith("__") and name.endswith("__") and name not in PYTHONS_OWN
    return special or not name.startswith("_")


def statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those that only type checkers see included."""
    for statement in tree.body:
        yield statement
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            yield from statement.body


def assigned(statement: ast.stmt) -> str:
    """Return the name that a statement assigns to, or nothing."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return targets[0].id if isinstance(targets[0], ast.Name) else ""


def defined(tree: ast.Module) -> dict[str, ast.stmt]:
    """Return the definitions of a module by name, imports excepted."""
    found: dict[str, ast.stmt] = {}
    for statement in statements(tree):
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
            found[statement.name] = statement
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and assigned(statement):
            found[assigned(statement)] = statement
    return found


def listed(tree: ast.Module) -> list[str] | None:
    """Return what ``__all__`` lists, or None."""
    statement = defined(tree).get("__all__")
    return ast.literal_eval(statement.value) if isinstance(statement, ast.Assign) else None


def home_of(name: str, module: str) -> tuple[str, ast.stmt]:
    """Return where a name that a module offers is defined."""
    tree = parse(module)
    if name in defined(tree):
        return module, defined(tree)[name]
    for statement in statements(tree):
        if isinstance(statement, ast.ImportFrom) and name in [alias.name for alias in statement.names]:
            return home_of(name, statement.module or "")
    raise AssertionError(f"{module} offers '{name}', and neither defines nor imports it")


def public_names(module: str) -> list[str]:
    names = listed(parse(module))
    assert names is not None, f"{module} has no __all__"
    return [name for name in names if f"{module}.{name}" not in MODULES]


def lines_of(module: str) -> Iterator[str]:
    for name in public_names(module):
        home, statement = home_of(name, module)
        yield from described(f"{module}.{name}", statement, home)


def described(path: str, statement: ast.stmt, home: str) -> Iterator[str]:
    """Yield a line for a name and, of a class, one for each of its members."""
    if isinstance(statement, ast.FunctionDef):
        yield path + signature(statement)
    elif isinstance(statement, ast.ClassDef):
        bases = [ast.unparse(base) for base in [*statement.bases, *(keyword.value for keyword in statement.keywords)]]
        marks = "".join(f"@{ast.unparse(mark)} " for mark in statement.decorator_list)
        yield f"{path} = {marks}class({', '.join(bases)})"
        for base in statement.bases:
            if isinstance(base, ast.Name) and base.id.startswith("_"):
                yield from members(path, defined(parse(home))[base.id])
        yield from members(path, statement)
    elif isinstance(statement, ast.AnnAssign):
        yield f"{path}: {ast.unparse(statement.annotation)}{value_of(statement)}"
    elif path == "adcli.__version__":
        yield path
    else:
        yield f"{path}{value_of(statement)}"


def value_of(statement: ast.stmt) -> str:
    value = getattr(statement, "value", None)
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "option":
        # The second argument is the help, which is no promise.
        value = ast.Call(value.func, value.args[:1], value.keywords)
    return "" if value is None else f" = {ast.unparse(value)}"


def signature(function: ast.FunctionDef) -> str:
    returned = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    marks = [ast.unparse(mark) for mark in function.decorator_list]
    return f"({ast.unparse(function.args)}){returned}{''.join(f'  @{mark}' for mark in marks)}"


def members(path: str, statement: ast.stmt) -> Iterator[str]:
    assert isinstance(statement, ast.ClassDef)
    for member in statement.body:
        if isinstance(member, ast.FunctionDef) and is_public(member.name):
            yield f"{path}.{member.name}{signature(member)}"
        elif isinstance(member, (ast.Assign, ast.AnnAssign)) and is_public(assigned(member)):
            annotation = f": {ast.unparse(member.annotation)}" if isinstance(member, ast.AnnAssign) else ""
            yield f"{path}.{assigned(member)}{annotation}{value_of(member)}"
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            yield from (f"{path}.{name}" for name in attributes(member))


def attributes(init: ast.FunctionDef) -> Iterator[str]:
    """Yield the public attributes that ``__init__`` sets."""
    for node in ast.walk(init):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) == "self"
            and is_public(node.attr)
        ):
            yield node.attr


def public_api() -> list[str]:
    return sorted({" ".join(line.split()) for module in MODULES for line in lines_of(module)})


HEAD = """# The public API

What code may use, by package: the names in its `__all__`. Everything here is kept as the [versions](index.md#versions)
say, and nothing else of the core is. `adcli-core/tests/public_api.txt` has the signatures, with fields, attributes and
defaults; docstrings say the rest: `python -m pydoc adcli.nn`. This page is written from them, by
`adcli-core/tests/test_public_api.py --record`.
"""


def page() -> str:
    """Return the page of the public API: a table for each module."""
    return HEAD + "".join(part for module in MODULES for part in section(module))


def section(module: str) -> Iterator[str]:
    yield f"\n## {module}\n\n{first_line(ast.get_docstring(parse(module)))}\n\n| name | what it is |\n|---|---|\n"
    for name in public_names(module):
        home, statement = home_of(name, module)
        yield row(name, statement, home)
        if isinstance(statement, ast.ClassDef):
            methods = [member for member in statement.body if isinstance(member, ast.FunctionDef)]
            told = (it for it in methods if not it.name.startswith("_") and ast.get_docstring(it))
            yield from (row(f"{name}.{it.name}", it, home) for it in told)


def row(name: str, statement: ast.stmt, home: str) -> str:
    """Return a row of a table; raises AssertionError for a name that nothing is said of."""
    is_property = isinstance(statement, ast.FunctionDef) and "property" in map(ast.unparse, statement.decorator_list)
    shown = f"{name}()" if isinstance(statement, ast.FunctionDef) and not is_property else name
    said = first_line(docstring(statement, home))
    assert said, f"{home}.{name} has no docstring"
    return f"| `{shown}` | {said} |\n"


def docstring(statement: ast.stmt, home: str) -> str | None:
    """Return the docstring of a class or function, or the text below an assignment."""
    if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
        return ast.get_docstring(statement)
    body = list(statements(parse(home)))
    places = [i for i, other in enumerate(body) if ast.dump(other) == ast.dump(statement)]
    below = body[places[0] + 1] if places and places[0] + 1 < len(body) else None
    return below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None


def first_line(text: str | None) -> str:
    """Return the first paragraph of a docstring as Markdown on one line."""
    line = " ".join((text or "").partition("\n\n")[0].split())
    line = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", line)
    return line.replace("``", "`").replace("|", "\\|")


def recorded() -> list[str]:
    return [line for line in RECORD.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def test_the_public_api_is_the_recorded_one() -> None:
    changes = [line for line in difflib.ndiff(recorded(), public_api()) if line[0] in "+-"]
    if changes:
        pytest.fail(ADVICE.format(changes="\n".join(changes), record=RECORD.name), pytrace=False)


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Yield module and name of everything that a file imports from the core; the name is empty for a whole module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "adcli":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "adcli")


def not_public(path: Path) -> list[str]:
    """Return what a file imports from the core that is not recorded."""
    known = {*MODULES, *(re.match(r"[\w.]+", line)[0] for line in recorded())}
    return [
        f"{path.name}: {module} {name}"
        for module, name in imported(path)
        if module not in MODULES or (name and f"{module}.{name}" not in known)
    ]


def test_first_party_plugins_use_only_the_public_api() -> None:
    sources = sorted(PLUGINS.glob("*/*/**/*.py"))
    assert {path.relative_to(PLUGINS).parts[0] for path in sources} == {
        path.parent.name for path in PLUGINS.glob("*/pyproject.toml")
    }
    assert not [problem for path in sources for problem in not_public(path)]


@pytest.mark.parametrize(
    "code",
    [
        "from adcli.nn.layers import _private",
        "from adcli._plugins.registry import registry",
        "import adcli._plugins.registry",
        "def inside():\n    from adcli.nn.model import no_such_name",
    ],
)
def test_other_names_are_noticed(code: str, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(code)
    assert len(not_public(tmp_path / "plugin.py")) == 1


def test_a_docstring_becomes_one_line_of_markdown() -> None:
    assert first_line("Maps ``a | b``\n    to :class:`adcli.data.Sample`.\n\nMore.") == "Maps `a \\| b` to `Sample`."
    (statement,) = ast.parse("def f() -> None: ...").body
    with pytest.raises(AssertionError, match="no docstring"):
        row("f", statement, "adcli")


def test_a_changed_default_is_noticed() -> None:
    before, after = (ast.parse(f"def f(a: int = {value}) -> None: ...").body[0] for value in (1, 2))
    assert list(described("adcli.f", before, "adcli")) == ["adcli.f(a: int=1) -> None"]
    assert list(described("adcli.f", before, "adcli")) != list(described("adcli.f", after, "adcli"))


def record() -> None:
    head = "# What plugins may use of adcli-core; written by test_public_api.py --record.\n"
    RECORD.write_text(head + "".join(f"{line}\n" for line in public_api()), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit("usage: python adcli-core/tests/test_public_api.py --record")
    record()
