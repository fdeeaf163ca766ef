"""Tests that run the frameworks themselves, each in the environment of its profile: ``make test-frameworks``."""
