"""Base classes of modules that consist of one model file.

    from hubserve.models import ClassifierModule
    from hubserve.module import moduleinfo

    from .params import get_default_confg

    @moduleinfo(name="flowers", version="1.0.0", summary="Names flowers")
    class Flowers(ClassifierModule):
        get_config = staticmethod(get_default_confg)

``hub convert`` writes such modules.
"""

from hubserve.models.classifier import ClassifierModule
from hubserve.models.model import ModelModule

__all__ = ["ClassifierModule", "ModelModule"]
