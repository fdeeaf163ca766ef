"""Names of ``paddlehub.utils``."""
