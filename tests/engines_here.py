"""Which engines read Paddle's files in this environment: ONNX Runtime needs a converter, and Python 3.13 has none yet."""

from importlib.util import find_spec

from hubserve.engines import ENGINES

CONVERTS = find_spec("paddle2onnx") is not None
READ_PADDLE = [name for name in ENGINES if name != "pytorch" and (CONVERTS or name != "onnxruntime")]
HAS_TORCH = find_spec("torch") is not None
