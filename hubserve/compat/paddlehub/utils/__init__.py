"""``paddlehub.utils``."""
