"""timm is imported without torch's compiler, which works when it is wanted."""

import gc
import importlib
import subprocess
import sys

import pytest

from adcli._process.imports import without_collection


def printed(code: str) -> list[str]:
    """Run code in a fresh interpreter; return its lines."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.thorough
@pytest.mark.slow
def test_the_compiler_stays_out_until_it_is_asked_for() -> None:
    code = (
        "import sys, torch\nfrom adcli._process.imports import import_light\n"
        "for name in ('torchvision.models', 'timm'):\n"
        "    module = import_light(name)\n"
        "    print(module.__name__, 'torch._dynamo' in sys.modules, 'torch._dynamo.utils' in sys.modules)\n"
        "from torchvision.ops import roi_align\n"
        "print(roi_align(torch.ones(1, 1, 8, 8), [torch.tensor([[0.0, 0, 4, 4]])], 2).shape)\n"
        "print(sys.modules['torchvision.ops.roi_align'].is_compile_supported('cpu'))\n"
        "print('torch._dynamo' in sys.modules)\n"
        "print(torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)))\n"
    )
    stayed_out = ["torchvision.models False False", "timm False False"]
    assert printed(code) == [*stayed_out, "torch.Size([1, 1, 2, 2])", "True", "True", "tensor([2.])"]


FINDER = """
import importlib.abc, importlib.util, sys
from adcli._process.imports import import_light

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "made_up" else None
    def exec_module(self, module):
        exec(CODE, module.__dict__)

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.thorough
@pytest.mark.slow
def test_what_is_kept_from_the_compiler_is_kept_from_it_and_whoever_wants_more_of_it_gets_it() -> None:
    kept = "import torch\n@torch.compiler.disable\ndef kept(x):\n    return torch.compiler.is_compiling()"
    code = (
        f"CODE = {kept!r}\n{FINDER}\nkept = import_light('made_up').kept\n"
        "import torch\n"
        "print('torch._dynamo' in sys.modules, kept.__name__)\n"
        "CODE = 'from torch._dynamo.utils import counters'\n"
        "del sys.modules['made_up']\nmodule = import_light('made_up')\n"
        "import torch._dynamo\n"
        "print(module.counters is torch._dynamo.utils.counters, type(sys.modules['torch._dynamo']).__name__)\n"
        "print(torch.compile(lambda x: kept(x), backend='eager')(torch.ones(1)))\n"
    )
    assert printed(code) == ["False kept", "True module", "False"]


def test_a_failed_import_leaves_nothing_behind() -> None:
    code = (
        "import sys\nfrom adcli._process.imports import import_light\n"
        "try:\n    import_light('no_such_module')\n"
        "except ModuleNotFoundError:\n    print([name for name in sys.modules if name.startswith('torch._dynamo')])\n"
    )
    assert printed(code) == ["[]"]


@pytest.mark.parametrize("enabled", [True, False])
def test_collection_is_left_as_it_was(enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with without_collection():
            assert not gc.isenabled()
        with pytest.raises(ModuleNotFoundError), without_collection():
            importlib.import_module("no_such_module")
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.parametrize(("call", "left_out"), [("let_imports_last()", True), ("None", False)])
def test_imports_are_left_out_of_searches_until_the_exit_where_that_is_asked_for(call: str, left_out: bool) -> None:
    code = (
        "import atexit, gc\nfrom adcli._process.imports import let_imports_last, without_collection\n"
        "atexit.register(lambda: print(gc.get_freeze_count()))\n"
        f"{call}\n"
        "with without_collection():\n    import decimal\n"
        "print(gc.get_freeze_count() > 0, gc.isenabled())\n"
    )
    assert printed(code) == [f"{left_out} True", "0"]


@pytest.mark.slow
def test_sketching_a_backbone_keeps_the_compiler_out() -> None:
    code = (
        "import sys\nfrom adcli.nn.backbones import sketch_backbone\nsketch_backbone('embedded')\n"
        "print('sympy' in sys.modules)\n"
    )
    assert printed(code) == ["False"]
