"""API keys: who may use which modules, the metrics and the admin surface, and how much."""
