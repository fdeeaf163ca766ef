"""What removed functions of Paddle did, by what is there now. Paddle is imported by whoever asks for one of them."""

from typing import Any, Callable, Optional, Tuple

import paddle as _paddle

#: without types, which differ from version to version
paddle: Any = _paddle
functional: Any = paddle.nn.functional
Layer: Any = paddle.nn.Layer


def _elementwise(name: str, compute: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def function(x: Any, y: Any, axis: int = -1, act: Optional[str] = None, name: Optional[str] = None) -> Any:  # noqa: ARG001
        if axis != -1:
            # y's first dimension stands below this one of x
            y = paddle.reshape(y, [1] * axis + list(y.shape) + [1] * (x.ndim - axis - y.ndim))
        result = compute(x, y)
        return getattr(functional, act)(result) if act else result

    function.__name__ = f"elementwise_{name}"
    function.__doc__ = f"Compute {name} of two tensors, and an activation of the result."
    return function


elementwise_add = _elementwise("add", paddle.add)
elementwise_sub = _elementwise("sub", paddle.subtract)
elementwise_mul = _elementwise("mul", paddle.multiply)
elementwise_div = _elementwise("div", paddle.divide)
elementwise_max = _elementwise("max", paddle.maximum)
elementwise_min = _elementwise("min", paddle.minimum)
elementwise_pow = _elementwise("pow", paddle.pow)
elementwise_mod = _elementwise("mod", paddle.mod)
elementwise_floordiv = _elementwise("floordiv", paddle.floor_divide)


def _reduce(name: str) -> Callable[..., Any]:
    def function(input: Any, dim: Any = None, keep_dim: bool = False, name: Optional[str] = None) -> Any:  # noqa: A002, ARG001
        return compute(input, axis=dim, keepdim=keep_dim)

    compute = getattr(paddle, name)
    function.__name__ = f"reduce_{name}"
    function.__doc__ = f"Compute {name} over dimensions."
    return function


reduce_sum, reduce_mean, reduce_max, reduce_min = map(_reduce, ("sum", "mean", "max", "min"))
reduce_prod, reduce_all, reduce_any = map(_reduce, ("prod", "all", "any"))


def fill_constant(shape: Any, dtype: Any, value: Any, *_: Any, **__: Any) -> Any:
    """Return a tensor of one value."""
    return paddle.full(shape, value, dtype)


def to_variable(value: Any, name: Optional[str] = None, zero_copy: Any = None, dtype: Any = None) -> Any:  # noqa: ARG001
    """Return a tensor of an array."""
    return paddle.to_tensor(value, dtype=dtype)


def hard_sigmoid(x: Any, slope: float = 0.2, offset: float = 0.5, name: Optional[str] = None) -> Any:  # noqa: ARG001
    """Return ``slope * x + offset``, cut to 0 to 1."""
    return paddle.clip(slope * x + offset, 0.0, 1.0)


def hard_swish(x: Any, threshold: float = 6.0, scale: float = 6.0, offset: float = 3.0, name: Optional[str] = None) -> Any:  # noqa: ARG001
    """Return ``x * (x + offset) / scale``, where the second factor is cut to 0 to ``threshold``."""
    return x * paddle.clip(x + offset, 0.0, threshold) / scale


class Hardsigmoid(Layer):  # type: ignore[misc]  # see above
    """A layer of :func:`hard_sigmoid`."""

    def forward(self, x: Any) -> Any:
        """Compute."""
        return hard_sigmoid(x)


class ReflectionPad2D(Layer):  # type: ignore[misc]  # see above
    """Pads pictures with their own mirrored edges."""

    def __init__(self, padding: Any, data_format: str = "NCHW", name: Optional[str] = None) -> None:  # noqa: ARG002
        super().__init__()
        self._pad = paddle.nn.Pad2D(padding, mode="reflect", data_format=data_format)

    def forward(self, x: Any) -> Any:
        """Compute."""
        return self._pad(x)


def l2_normalize(x: Any, axis: int = -1, epsilon: float = 1e-12, name: Optional[str] = None) -> Any:  # noqa: ARG001
    """Return vectors of length 1."""
    return x / paddle.sqrt(paddle.clip(paddle.sum(x * x, axis=axis, keepdim=True), min=epsilon))


def pool2d(
    input: Any,  # noqa: A002
    pool_size: Any = -1,
    pool_type: str = "max",
    pool_stride: Any = 1,
    pool_padding: Any = 0,
    global_pooling: bool = False,
    use_cudnn: bool = True,  # noqa: ARG001
    ceil_mode: bool = False,
    name: Optional[str] = None,  # noqa: ARG001
    exclusive: bool = True,
    data_format: str = "NCHW",
) -> Any:
    """Return the maximum or the average of windows."""
    if global_pooling:
        pool = functional.adaptive_max_pool2d if pool_type == "max" else functional.adaptive_avg_pool2d
        return pool(input, 1)
    window: Tuple[Any, Any, Any] = (pool_size, pool_stride, pool_padding)
    if pool_type == "max":
        return functional.max_pool2d(input, *window, ceil_mode=ceil_mode, data_format=data_format)
    return functional.avg_pool2d(input, *window, ceil_mode=ceil_mode, exclusive=exclusive, data_format=data_format)


def msra(uniform: bool = True, fan_in: Any = None, seed: int = 0, **options: Any) -> Any:  # noqa: ARG001
    """Return Kaiming's initializer of weights."""
    kind = paddle.nn.initializer.KaimingUniform if uniform else paddle.nn.initializer.KaimingNormal
    return kind(fan_in=fan_in, **options)


def xavier(uniform: bool = True, fan_in: Any = None, fan_out: Any = None, seed: int = 0) -> Any:  # noqa: ARG001
    """Return Xavier's initializer of weights."""
    kind = paddle.nn.initializer.XavierUniform if uniform else paddle.nn.initializer.XavierNormal
    return kind(fan_in=fan_in, fan_out=fan_out)
