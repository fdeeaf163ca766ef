"""Write a network with random weights as TorchScript, ``model.pt``, and by torch.export, ``model.pt2``. Arguments: FOLDER tiny|resnet18."""

import sys
from pathlib import Path

import resnets
import torch

SIDES_PX = {"tiny": 32, "resnet18": 224}


class Network(torch.nn.Module):
    """Names the input."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return self.layers(data)


def main():
    """Write the files."""
    folder, name = sys.argv[1:]
    torch.manual_seed(3)
    model = Network(resnets.tiny(torch.nn) if name == "tiny" else resnets.resnet(torch.nn, 18)).eval()
    data = torch.rand(2, 3, SIDES_PX[name], SIDES_PX[name])
    with torch.no_grad():
        torch.jit.freeze(torch.jit.trace(model, data)).save(str(Path(folder, "model.pt")))
        exported = torch.export.export(model, (data,), dynamic_shapes={"data": {0: torch.export.Dim("batch", max=64)}})
        torch.export.save(exported, str(Path(folder, "model.pt2")))


if __name__ == "__main__":
    main()
