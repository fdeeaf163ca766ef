"""Names of ``paddlehub.reader`` for inference: tokens and padding."""
