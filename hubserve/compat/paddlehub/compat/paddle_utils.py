"""``paddlehub.compat.paddle_utils``: Paddle's static mode, and changes to its programs. Paddle is imported on first use."""

import functools
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Optional, Sequence


@contextmanager
def static_mode_guard() -> Iterator[None]:
    """Enable static mode inside the ``with`` block, and restore the mode afterwards, also after an error."""
    import paddle

    dynamic = paddle.in_dynamic_mode()
    if dynamic:
        paddle.enable_static()
    try:
        yield
    finally:
        if dynamic:
            paddle.disable_static()


def run_in_static_mode(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function to run in static mode."""

    @functools.wraps(function)
    def run(*args: Any, **settings: Any) -> Any:
        with static_mode_guard():
            return function(*args, **settings)

    return run


def rename_var(block: Any, old_name: str, new_name: str) -> None:
    """Rename a variable of a block, and its uses in the block's operators."""
    for op in block.ops:
        if old_name in op.input_arg_names:
            op._rename_input(old_name, new_name)
        if old_name in op.output_arg_names:
            op._rename_output(old_name, new_name)
    block._rename_var(old_name, new_name)


def add_vars_prefix(
    program: Any,
    prefix: str,
    vars: Optional[Sequence[str]] = None,  # noqa: A002 - the published name
    excludes: Optional[Sequence[str]] = None,
) -> None:
    """Add a prefix to the names of a program's variables: of all, or of ``vars``, without ``excludes``."""
    block = program.global_block()
    for name in list(vars) if vars else list(block.vars):
        if name not in (excludes or ()):
            rename_var(block, name, prefix + name)


def remove_vars_prefix(
    program: Any,
    prefix: str,
    vars: Optional[Sequence[str]] = None,  # noqa: A002 - the published name
    excludes: Optional[Sequence[str]] = None,
) -> None:
    """Remove the prefix that :func:`add_vars_prefix` added."""
    block = program.global_block()
    for name in list(vars or block.vars):
        if name.startswith(prefix) and name not in (excludes or ()):
            rename_var(block, name, name[len(prefix) :])


def get_variable_info(var: Any) -> Dict[str, Any]:
    """Return a variable's name, shape, dtype (such as ``float32``) and flags."""
    import paddle

    if not isinstance(var, paddle.static.Variable):
        raise TypeError(f"a variable of a program was expected, got {type(var).__name__}")
    keys = ("name", "shape", "lod_level", "stop_gradient", "is_data", "error_clip", "type", "trainable", "persistable")
    info = {key: getattr(var, key) for key in keys if hasattr(var, key)}
    return {**info, "dtype": str(var.dtype).rpartition(".")[2].replace("FP", "float").replace("INT", "int").lower()}


def remove_feed_fetch_op(program: Any) -> None:
    """Remove the operators and variables that feed and fetch."""
    block = program.global_block()
    for index in reversed([index for index, op in enumerate(block.ops) if op.type in ("feed", "fetch")]):
        block._remove_op(index)
    for name in [name for name in block.vars if name.endswith(("feed", "fetch"))]:
        block._remove_var(name)
    program.desc.flush()


def set_op_attr(program: Any, is_test: bool = False) -> None:
    """Set ``is_test`` of every operator that has it."""
    for block in program.blocks:
        for op in block.ops:
            if op.has_attr("is_test"):
                op._set_attr("is_test", is_test)
