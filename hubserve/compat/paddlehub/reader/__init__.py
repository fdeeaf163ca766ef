"""What ``paddlehub.reader`` offers for inference: tokens and padding."""
