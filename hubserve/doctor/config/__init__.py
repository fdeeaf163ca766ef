"""Checks of a server's ``config.json``."""
