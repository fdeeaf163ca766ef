"""Measures a served module as its users would, with the engine alone beside it."""
