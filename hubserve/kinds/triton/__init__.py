"""Triton models: the kind, the configuration, and the backends for Python models and model files."""
