"""Engines compute model files. The table is in :mod:`hubserve.engines.table`."""

from hubserve.engines.base import Engine, EngineOptions, ModelFiles
from hubserve.engines.loading import check_options, load_engine
from hubserve.engines.model_files import find_model_files
from hubserve.engines.table import AUTO, ENGINES, engine_class

__all__ = ["AUTO", "ENGINES", "Engine", "EngineOptions", "ModelFiles", "check_options", "engine_class", "find_model_files", "load_engine"]
