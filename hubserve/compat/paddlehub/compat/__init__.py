"""``paddlehub.compat``, for modules from before Paddle 2."""
