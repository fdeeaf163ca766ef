from pathlib import Path

import numpy as np
import pytest

from hubserve.errors import LoadFailed
from hubserve.kinds import get_kind
from hubserve.kinds.description import Interface

MODULE = """
from hubserve.module import ANY, TensorSpec, batch, moduleinfo

@moduleinfo(name="halver", version="1.0.0", summary="Halves numbers")
class Halver:
    inputs = [TensorSpec("x", "float32", (ANY, 2))]
    outputs = [TensorSpec("y", "float32", (ANY, 2))]

    @batch{brackets}
    def halve(self, x):
        return x / 2
"""


@pytest.mark.parametrize("brackets", ["", "()", "(max_batch_size=32)"])
def test_a_batch_method_may_be_marked_with_brackets_or_without(tmp_path: Path, brackets: str) -> None:
    (tmp_path / "module.py").write_text(MODULE.format(brackets=brackets), "utf-8")
    module = get_kind("paddlehub").load(tmp_path, f"halver_{len(brackets)}", {}, {})
    assert Interface.TENSORS in module.description.interfaces
    assert module.description.max_batch_size == 32
    assert np.array_equal(module.call_tensors({"x": np.ones((3, 2), np.float32)}), np.full((3, 2), 0.5))


@pytest.mark.parametrize(
    ("method", "advice"),
    [
        ("    @serving\n    def answer(self):\n        yield 1\n", "Collect its values in a list"),
        ("    @serving\n    async def answer(self):\n        return 1\n", "Make it 'def'"),
        ("    @serving\n    async def answer(self):\n        yield 1\n", "Make it 'def'"),
        ("    @batch\n    def answer(self, x):\n        yield x\n", "Collect its values in a list"),
    ],
)
@pytest.mark.parametrize("inherited", [False, True])
def test_generators_and_coroutines_are_refused_as_methods_at_the_import(tmp_path: Path, method: str, advice: str, inherited: bool) -> None:
    head = "from hubserve.module import batch, moduleinfo, serving\n"
    decorator = '@moduleinfo(name="lazy", version="1.0.0")\n'
    body = f"class Base:\n{method}\n{decorator}class Lazy(Base):\n    pass\n" if inherited else f"{decorator}class Lazy:\n{method}"
    (tmp_path / "module.py").write_text(head + body, "utf-8")
    kind = get_kind("paddlehub")
    with pytest.raises(LoadFailed, match=advice):
        kind.import_only(tmp_path, f"lazy_{tmp_path.name}")


def test_a_generator_that_a_decorator_collects_is_an_answer(tmp_path: Path) -> None:
    source = """
import functools
from hubserve.module import moduleinfo, serving

def collected(method):
    @functools.wraps(method)
    def collect(*args, **kwargs):
        return list(method(*args, **kwargs))
    return collect

@moduleinfo(name="collecting", version="1.0.0")
class Collecting:
    @serving
    @collected
    def answer(self):
        yield 1
"""
    (tmp_path / "module.py").write_text(source, "utf-8")
    assert get_kind("paddlehub").load(tmp_path, "collecting", {}, {}).call_json({}) == [1]
