"""What ``paddlehub.vision`` offers: pictures before and after a model."""
