"""Which engines read Paddle's files in this environment: ONNX Runtime needs a converter, and Python 3.13 has none yet."""

from importlib.util import find_spec
from pathlib import Path

from hubserve.engines import ENGINES, engine_class

CONVERTS = find_spec("paddle2onnx") is not None


def readers(form: str) -> list[str]:
    """Return the engines of the table that read models of this ending."""
    return [name for name in ENGINES if engine_class(name).reads(Path(f"inference.{form}"))]


READ_PADDLE = [name for name in readers("pdmodel") if CONVERTS or name != "onnxruntime"]
HAS_TORCH = find_spec("torch") is not None
