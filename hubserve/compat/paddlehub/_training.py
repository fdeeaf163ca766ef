"""Placeholders for training and evaluation: they can be imported, and raise an error when used.

Published modules import such names beside those that they infer with.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Optional

from hubserve.errors import UnsupportedFace

#: packages all of whose modules are for training, but for those that are here as files
PACKAGES = (
    *("autodl", "autofinetune", "contrib", "dataset", "datasets", "finetune", "reader", "text", "compat.datasets", "compat.task"),
    "vision.detect_transforms",
)
#: names at the top of the package
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
    """Something was used that is for training, which is not done here."""


def refuse(what: str) -> OnlyTraining:
    """Return the error for something that only training needs."""
    return OnlyTraining(
        f"{what} is for training, and hubserve serves trained modules only. Train with PaddleHub in an environment that has it, "
        "then install the module that it saves."
    )


def placeholder(module: str, name: str) -> Any:
    """Return a class that can be named, subclassed and passed on, but not instantiated."""

    def refuse_to_be_made(self: Any, *_args: Any, **_settings: Any) -> None:  # noqa: ARG001 - takes what the real one takes
        raise refuse(f"{module}.{name}")

    return type(name, (), {"__init__": refuse_to_be_made, "__module__": module, "__doc__": f"Stands for {module}.{name}."})


class _TrainingModule(ModuleType):
    """Module whose names are all placeholders."""

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
        """Nothing is run."""


def install() -> None:
    """Have the import system find them, behind what is really here."""
    if not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.append(_Finder())
