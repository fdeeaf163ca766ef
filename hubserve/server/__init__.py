"""Puts the protocols on one port, and keeps the process that serves them."""
