"""``paddlehub.reader``: the parts for inference, tokens and padding."""
