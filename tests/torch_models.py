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


class ByKey(torch.nn.Module):
    """Takes its tensors by name, and nests its answers."""

    def forward(self, tensors: "dict[str, torch.Tensor]") -> "tuple[torch.Tensor, dict[str, torch.Tensor]]":
        return tensors["a"] + tensors["b"], {"difference": tensors["a"] - tensors["b"]}


class Deep(torch.nn.Module):
    """Answers within answers."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> "tuple[torch.Tensor, tuple[torch.Tensor, list[torch.Tensor]]]":
        return a + b, (a - b, [a, b])


class Pictures(torch.nn.Module):
    """A small classifier of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 5)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(picture)).mean([2, 3])).softmax(1)


class Words(torch.nn.Module):
    """Takes whole numbers, and a mask that may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.embedding(ids).mean(1)


def save(path: Path, model: torch.nn.Module) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch recommends another form of file; there are many of this one
        torch.jit.save(torch.jit.script(model), str(path))
    return path
