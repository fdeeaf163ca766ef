"""Inference scripts of tiinfer: a folder whose ``model_service.py`` has a subclass of ``tiinfer.Model``."""
