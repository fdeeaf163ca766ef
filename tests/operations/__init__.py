"""Tests that need programs other than Python packages (nginx, Chromium, debootstrap, ...): ``make test-operations``."""
