"""Configuration files as people write them: JSON with comments, PaddleHub's older keys, numbers as texts."""
