"""Servers with metrics, logs, traces, keys and TLS, and load on them, for ``bench/observability.py``."""
