"""Lenient reading of configuration files: JSON with comments, PaddleHub's older keys, numbers as strings."""
