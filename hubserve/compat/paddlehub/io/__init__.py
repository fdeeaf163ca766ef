"""``paddlehub.io``, for modules of PaddleHub 1."""
