"""Removed functions of Paddle, rebuilt on present ones."""

from typing import Any, Callable, Optional


def _functional() -> Any:
    from paddle.nn import functional

    return functional


def _elementwise(name: str, now: str) -> Callable[..., Any]:
    def function(x: Any, y: Any, axis: int = -1, act: Optional[str] = None, name: Optional[str] = None) -> Any:  # noqa: ARG001
        import paddle

        if axis != -1:
            # y's first dimension is aligned with this one of x
            y = paddle.reshape(y, [1] * axis + list(y.shape) + [1] * (x.ndim - axis - y.ndim))
        result = getattr(paddle, now)(x, y)
        return getattr(_functional(), act)(result) if act else result

    function.__name__ = f"elementwise_{name}"
    function.__doc__ = f"Compute {name} of two tensors, and an activation of the result."
    return function


elementwise_add = _elementwise("add", "add")
elementwise_sub = _elementwise("sub", "subtract")
elementwise_mul = _elementwise("mul", "multiply")
elementwise_div = _elementwise("div", "divide")
elementwise_max = _elementwise("max", "maximum")
elementwise_min = _elementwise("min", "minimum")
elementwise_pow = _elementwise("pow", "pow")
elementwise_mod = _elementwise("mod", "mod")
elementwise_floordiv = _elementwise("floordiv", "floor_divide")


def _reduce(now: str) -> Callable[..., Any]:
    def function(input: Any, dim: Any = None, keep_dim: bool = False, name: Optional[str] = None) -> Any:  # noqa: A002, ARG001
        import paddle

        return getattr(paddle, now)(input, axis=dim, keepdim=keep_dim)

    function.__name__ = f"reduce_{now}"
    function.__doc__ = f"Compute {now} over dimensions."
    return function


reduce_sum, reduce_mean, reduce_max, reduce_min = map(_reduce, ("sum", "mean", "max", "min"))
reduce_prod, reduce_all, reduce_any = map(_reduce, ("prod", "all", "any"))


def fill_constant(shape: Any, dtype: Any, value: Any, *_: Any, **__: Any) -> Any:
    """Return a tensor filled with one value."""
    import paddle

    return paddle.full(shape, value, dtype)


def to_variable(value: Any, name: Optional[str] = None, zero_copy: Any = None, dtype: Any = None) -> Any:  # noqa: ARG001
    """Convert an array to a tensor."""
    import paddle

    return paddle.to_tensor(value, dtype=dtype)


def hard_sigmoid(x: Any, slope: float = 0.2, offset: float = 0.5, name: Optional[str] = None) -> Any:  # noqa: ARG001
    """Return ``slope * x + offset``, clipped to 0 to 1."""
    import paddle

    return paddle.clip(slope * x + offset, 0.0, 1.0)


def hard_swish(x: Any, threshold: float = 6.0, scale: float = 6.0, offset: float = 3.0, name: Optional[str] = None) -> Any:  # noqa: ARG001
    """Return ``x * (x + offset) / scale``, with the second factor clipped to 0 to ``threshold``."""
    import paddle

    return x * paddle.clip(x + offset, 0.0, threshold) / scale


def hard_sigmoid_layer(name: Optional[str] = None) -> Any:
    """Return a layer of :func:`hard_sigmoid`."""
    from paddle.nn import Layer

    class HSigmoid(Layer):  # type: ignore[misc, unused-ignore]  # Paddle may be without types
        """Layer of :func:`hard_sigmoid`."""

        def forward(self, x: Any) -> Any:
            """See :func:`hard_sigmoid`."""
            return hard_sigmoid(x, name=name)

    return HSigmoid()


def reflection_pad(padding: Any, data_format: Any = "NCHW", name: Optional[str] = None) -> Any:
    """Return a layer that pads pictures with their own mirrored edges."""
    from paddle.nn import Pad2D

    return Pad2D(padding, mode="reflect", data_format=data_format, name=name)


def l2_normalize(x: Any, axis: int = -1, epsilon: float = 1e-12, name: Optional[str] = None) -> Any:  # noqa: ARG001
    """Scale vectors to length 1."""
    import paddle

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
    """Compute the maximum or the average of windows."""
    functional = _functional()
    if global_pooling:
        pool = functional.adaptive_max_pool2d if pool_type == "max" else functional.adaptive_avg_pool2d
        return pool(input, 1)
    options = {"ceil_mode": ceil_mode, "data_format": data_format}
    if pool_type == "max":
        return functional.max_pool2d(input, pool_size, pool_stride, pool_padding, **options)
    return functional.avg_pool2d(input, pool_size, pool_stride, pool_padding, exclusive=exclusive, **options)


def msra(uniform: bool = True, fan_in: Any = None, seed: int = 0, **options: Any) -> Any:  # noqa: ARG001
    """Return Kaiming's initializer of weights."""
    from paddle.nn.initializer import KaimingNormal, KaimingUniform

    return (KaimingUniform if uniform else KaimingNormal)(fan_in=fan_in, **options)


def xavier(uniform: bool = True, fan_in: Any = None, fan_out: Any = None, seed: int = 0) -> Any:  # noqa: ARG001
    """Return Xavier's initializer of weights."""
    from paddle.nn.initializer import XavierNormal, XavierUniform

    return (XavierUniform if uniform else XavierNormal)(fan_in=fan_in, fan_out=fan_out)
