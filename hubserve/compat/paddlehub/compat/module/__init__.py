"""Names of ``paddlehub.compat.module``."""
