"""Measurement of a served module as its users see it, compared with the engine alone."""
