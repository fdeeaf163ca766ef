"""Names of ``paddlehub.vision``: pictures before and after a model."""
