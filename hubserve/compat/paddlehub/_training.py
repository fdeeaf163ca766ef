"""Placeholders for names of training and evaluation: they can be imported, and raise when they are used.

Published modules import such names together with those for inference.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Optional

from hubserve.errors import UnsupportedFace

#: packages for training only, except for their modules that exist here as files
PACKAGES = (
    *("autodl", "autofinetune", "contrib", "dataset", "datasets", "finetune", "reader", "text", "compat.datasets", "compat.task"),
    "vision.detect_transforms",
)
#: top-level names for training
NAMES = (
    *("AdamWeightDecayStrategy", "BertTokenizer", "ClassifierTask", "CombinedStrategy", "CustomTokenizer", "DefaultFinetuneStrategy"),
    *("DefaultStrategy", "ErnieTinyTokenizer", "ImageClassifierTask", "L2SPFinetuneStrategy", "MultiLabelClassifierTask"),
    *(
        "ReadingComprehensionTask",
        "RegressionTask",
        "RunConfig",
        "SequenceLabelTask",
        "TextClassifierTask",
        "TextGenerationTask",
        "Trainer",
    ),
    "ULMFiTStrategy",
)


class OnlyTraining(UnsupportedFace):
    """A name for training was used, which is not supported here."""


def refuse(what: str) -> OnlyTraining:
    """Return the error for the use of a name for training."""
    return OnlyTraining(
        f"{what} is for training, and hubserve serves trained modules only. Train with PaddleHub in an environment that has it, "
        "then install the module that it saves."
    )


def placeholder(module: str, name: str) -> Any:
    """Return a class that can be subclassed and passed on, but not constructed."""

    def refuse_construction(self: Any, *_args: Any, **_settings: Any) -> None:  # noqa: ARG001 - the real class's arguments
        raise refuse(f"{module}.{name}")

    return type(name, (), {"__init__": refuse_construction, "__module__": module, "__doc__": f"Placeholder for {module}.{name}."})


class _TrainingModule(ModuleType):
    """A module whose names are all placeholders."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = placeholder(self.__name__, name)
        setattr(self, name, made)
        return made


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:  # noqa: ARG002 - the protocol's signature
        inside = fullname.partition(".")[2]
        if fullname.startswith("paddlehub.") and any(inside == each or inside.startswith(each + ".") for each in PACKAGES):
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _TrainingModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing."""


def install() -> None:
    """Add a finder of the packages for training, after every other finder."""
    if not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.append(_Finder())
