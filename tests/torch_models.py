"""TorchScript files of small models; needs PyTorch."""

import warnings
from pathlib import Path

import torch


class Both(torch.nn.Module):
    """Two answers, as a tuple."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> "tuple[torch.Tensor, torch.Tensor]":
        return a + b, a - b


class Named(torch.nn.Module):
    """The same by name, in another order."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> "dict[str, torch.Tensor]":
        return {"difference": a - b, "sum": a + b}


class InPlace(torch.nn.Module):
    """It writes into what it is given."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a.add_(b)


def save(path: Path, model: torch.nn.Module) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch recommends another form of file; there are many of this one
        torch.jit.save(torch.jit.script(model), str(path))
    return path
