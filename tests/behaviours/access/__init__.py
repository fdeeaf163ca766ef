"""Modules mounted in Flask applications."""
