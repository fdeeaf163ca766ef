from pathlib import Path

import numpy as np
import pytest

from hubserve.kinds import get_kind
from hubserve.kinds.base import Face

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
    assert Face.TENSORS in module.description.faces
    assert module.description.max_batch_size == 32
    assert np.array_equal(module.call_tensors({"x": np.ones((3, 2), np.float32)}), np.full((3, 2), 0.5))
