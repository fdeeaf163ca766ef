"""``paddlehub.vision``: transforms of pictures before and after a model."""
