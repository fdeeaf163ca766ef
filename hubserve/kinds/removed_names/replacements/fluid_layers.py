"""Replacement of ``paddle.fluid.layers``: its functions that have another name now, and those that ``paddle.base.layers`` kept."""

from typing import Any, Optional

from hubserve.kinds.removed_names.replacements.paddle import (
    pool2d,
    reduce_all,
    reduce_any,
    reduce_max,
    reduce_mean,
    reduce_min,
    reduce_prod,
    reduce_sum,
)

__all__ = ["pool2d", "reduce_all", "reduce_any", "reduce_max", "reduce_mean", "reduce_min", "reduce_prod", "reduce_sum"]

#: functions whose arguments are the same
_SAME = {
    **dict.fromkeys(("cast", "concat", "gather", "ones", "reshape", "scale", "shape", "stack", "transpose", "where", "zeros"), "paddle"),
    **dict.fromkeys(("elu", "relu", "relu6", "sigmoid", "softplus", "softsign", "tanh", "sequence_mask"), "paddle.nn.functional"),
}


def __getattr__(name: str) -> Any:
    """Return a function that Paddle still has."""
    from importlib import import_module

    if name.startswith("elementwise_"):
        return getattr(import_module("hubserve.kinds.removed_names.replacements.paddle"), name)
    return getattr(import_module(_SAME.get(name, "paddle.base.layers")), name)


def matmul(x: Any, y: Any, transpose_x: bool = False, transpose_y: bool = False, alpha: float = 1.0, name: Optional[str] = None) -> Any:  # noqa: ARG001
    """Return the product of two matrices."""
    import paddle

    result: Any = paddle.matmul(x, y, transpose_x, transpose_y)  # type: ignore[no-untyped-call, unused-ignore]
    return result if alpha == 1 else result * alpha


def soft_relu(x: Any, threshold: float = 40.0, name: Optional[str] = None) -> Any:  # noqa: ARG001
    """Return ``log(1 + exp(x))``, with ``x`` clipped to ``threshold`` on both sides."""
    import paddle

    return paddle.log(1 + paddle.exp(paddle.clip(x, -threshold, threshold)))


def resize_nearest(
    input: Any,  # noqa: A002
    out_shape: Any = None,
    scale: Any = None,
    name: Optional[str] = None,  # noqa: ARG001
    actual_shape: Any = None,  # noqa: ARG001
    align_corners: bool = True,
    data_format: str = "NCHW",
) -> Any:
    """Resize pictures by nearest neighbour; ``align_corners`` keeps the corners in place."""
    import paddle

    rows, columns = (2, 3) if data_format == "NCHW" else (1, 2)
    for axis, position in ((rows, 0), (columns, 1)):
        before = input.shape[axis]
        after = int(out_shape[position]) if out_shape is not None else int(before * scale)
        if align_corners:
            ratio = (before - 1) / (after - 1) if after > 1 else 0.0
            positions = [int(ratio * index + 0.5) for index in range(after)]
        else:
            positions = [min(before - 1, int(before / after * index)) for index in range(after)]
        input = paddle.gather(input, paddle.to_tensor(positions), axis)  # noqa: A001 - as Paddle called it
    return input


def squeeze(input: Any, axes: Any, name: Optional[str] = None) -> Any:  # noqa: A002, ARG001
    """Remove dimensions of length 1."""
    import paddle

    return paddle.squeeze(input, axes)


def unsqueeze(input: Any, axes: Any, name: Optional[str] = None) -> Any:  # noqa: A002, ARG001
    """Insert dimensions of length 1."""
    import paddle

    return paddle.unsqueeze(input, axes)
