"""``paddlehub.compat.module``."""
