"""What ``paddlehub.compat`` offers to modules from before Paddle 2."""
