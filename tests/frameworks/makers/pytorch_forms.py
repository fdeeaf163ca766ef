"""Make resnet18, and models with nested inputs and outputs, in each form of PyTorch; run by the Python of the environment ``pytorch``.

``python pytorch_models.py FOLDER`` writes into it::

    resnet18.pt2, fixed.pt2      exported with an open number of items, and for one item
    resnet18.pt                  TorchScript
    resnet18/                    model.safetensors, model.py, config.json
    state/                       a state dict in model.pt, with the code beside it
    nested.pt2, nested/          nested inputs and outputs: exported, and as weights
    compiled.pt2                 a package of AOTInductor
"""

import json
import sys
import warnings
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_model

RESNET = '''"""resnet18."""

import torch
from torch import nn


def conv(taken, given, size, stride):
    return nn.Sequential(nn.Conv2d(taken, given, size, stride, size // 2, bias=False), nn.BatchNorm2d(given))


class Block(nn.Module):
    def __init__(self, taken, given, stride):
        super().__init__()
        self.first, self.second = conv(taken, given, 3, stride), conv(given, given, 3, 1)
        self.short = conv(taken, given, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        return torch.relu(self.second(torch.relu(self.first(x))) + self.short(x))


class ResNet18(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
        self.blocks = nn.Sequential(*[Block(*each) for each in widths])
        self.head = nn.Linear(512, classes)

    def forward(self, picture):
        return self.head(self.blocks(self.stem(picture)).mean([2, 3]))


MODEL = ResNet18
EXAMPLE_INPUTS = (torch.zeros(1, 3, 224, 224),)
'''
NESTED = '''"""Two tensors in a dictionary, a number and one that may be left out in; a dictionary, None and a tensor out."""

import torch


class Nested(torch.nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(width, 2)

    def forward(self, batch, scale=2.0, mask=None):
        scores = self.layer(batch["image"]) * scale + batch["more"][0]
        return {"scores": scores, "pair": [scores + 1, scores - 1], "none": mask}, scores.argmax(1)


EXAMPLE_INPUTS = {"batch": {"image": torch.zeros(2, 6), "more": [torch.zeros(2, 2)]}}
'''


def main(folder: Path) -> None:
    """Write all models."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    batch = torch.export.Dim("batch", min=1, max=64)
    for name in ("resnet18", "state", "nested"):
        (folder / name).mkdir()
        (folder / name / "model.py").write_text(NESTED if name == "nested" else RESNET)
    model, picture = class_in(folder / "resnet18", "ResNet18")(1000).eval(), torch.randn(2, 3, 224, 224)
    torch.export.save(torch.export.export(model, (picture,), dynamic_shapes=({0: batch},)), str(folder / "resnet18.pt2"))
    torch.export.save(torch.export.export(model, (picture[:1],)), str(folder / "fixed.pt2"))
    torch.jit.save(torch.jit.trace(model, picture), str(folder / "resnet18.pt"))
    save_model(model, str(folder / "resnet18" / "model.safetensors"))
    for name in ("resnet18", "state"):
        (folder / name / "config.json").write_text(json.dumps({"classes": 1000, "architectures": ["ResNet18"]}))
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, str(folder / "state" / "model.pt"))
    nested = class_in(folder / "nested", "Nested")(6).eval()
    (folder / "nested" / "config.json").write_text(json.dumps({"width": 6}))
    save_model(nested, str(folder / "nested" / "model.safetensors"))
    given = {"image": torch.randn(3, 6), "more": [torch.randn(3, 2)]}
    shapes = {"batch": {"image": {0: batch}, "more": [{0: batch}]}, "scale": None}
    torch.export.save(torch.export.export(nested, (given,), {"scale": 3.0}, dynamic_shapes=shapes), str(folder / "nested.pt2"))
    small = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 5)
    )
    program = torch.export.export(small.eval(), (torch.randn(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
    torch.export.save(program, str(folder / "small.pt2"))
    torch._inductor.aoti_compile_and_package(program, package_path=str(folder / "compiled.pt2"))


def class_in(folder: Path, name: str) -> Any:
    """Return a class of the model.py in a folder."""
    spec = spec_from_file_location(name, str(folder / "model.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    return getattr(module, name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
