"""``paddlehub.common.paddle_helper``: functions on Paddle's programs, under their old name."""

from paddlehub.compat.paddle_utils import (
    add_vars_prefix,
    get_variable_info,
    remove_feed_fetch_op,
    remove_vars_prefix,
    rename_var,
    set_op_attr,
)

__all__ = ["add_vars_prefix", "get_variable_info", "remove_feed_fetch_op", "remove_vars_prefix", "rename_var", "set_op_attr"]
