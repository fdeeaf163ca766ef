"""Save graphs that have their batch size in different places, with inputs and the eager module's answers. Arguments: FOLDER."""

import sys
from pathlib import Path

import numpy as np
import oneflow as flow
from oneflow import nn
from oneflow_model import Graph

#: items of which each graph's answers are kept
ITEMS = 8


class Attention(nn.Module):
    """A small vision transformer: a class token that is expanded to the batch, reshapes with heads, slices behind a transposition."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(flow.randn(1, 1, 8))
        self.qkv = nn.Linear(8, 24)
        self.scores = nn.Linear(8, 5)

    def forward(self, x):
        """Take (batch, 3, 8, 8)."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        batch = x.shape[0]
        x = flow.cat([self.token.expand(batch, -1, -1), x], dim=1)
        length = x.shape[1]
        qkv = self.qkv(x).reshape(batch, length, 3, 2, 4).permute(2, 0, 3, 1, 4)
        weights = flow.softmax(flow.matmul(qkv[0], qkv[1].transpose(-2, -1)), dim=-1)
        x = flow.matmul(weights, qkv[2]).transpose(1, 2).reshape(batch, length, 8)
        return self.scores(x[:, 0])


class Recurrent(nn.Module):
    """A state that begins as zeros of the batch's size."""

    def __init__(self):
        super().__init__()
        self.step = nn.Linear(8, 4)

    def forward(self, x):
        """Take (batch, 3, 4)."""
        state = flow.zeros(x.shape[0], 4)
        for at in range(3):
            state = flow.tanh(self.step(flow.cat([x[:, at], state], dim=1)))
        return state


class Mixing(nn.Module):
    """Items that change one another's answers."""

    def forward(self, x):
        """Take (batch, 4)."""
        return flow.softmax(x.reshape(x.shape[0], 2, 2).transpose(0, 1).reshape(2, -1), dim=1).reshape(2, -1, 2).transpose(0, 1).flatten(1)


class Several(nn.Module):
    """Inputs and outputs of several datatypes, some of the outputs in a tuple of their own."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)

    def forward(self, ids, x):
        """Take (batch,) of int64 and (batch, 4)."""
        return self.embedding(ids) + x, ids * 2, (x.double() * 0.5, flow.argmax(x, dim=1))


class Half(nn.Module):
    """Half precision."""

    def forward(self, x):
        """Take (batch, 4) of float16."""
        return x + x


def flat(value):
    """Return the tensors of an answer, in order."""
    return [each for inner in value for each in flat(inner)] if isinstance(value, (tuple, list)) else [value]


def save(folder, name, module, batch, *arrays):
    """Write ``NAME/model`` for a batch size, and ``NAME/items.npz``."""
    graph = Graph(module.eval())
    graph(*(flow.tensor(each[:batch]) for each in arrays))
    (folder / name).mkdir()
    flow.save(graph, str(folder / name / "model"))
    single = [flat(module(*(flow.tensor(each[at : at + 1]) for each in arrays))) for at in range(ITEMS)]
    kept = {f"INPUT_{at}": each for at, each in enumerate(arrays)}
    kept.update({f"OUTPUT_{at}": np.concatenate([each.numpy() for each in given]) for at, given in enumerate(zip(*single))})
    np.savez(folder / name / "items.npz", **kept)


def main():
    """Write the folders."""
    folder = Path(sys.argv[1])
    flow.manual_seed(5)
    rng = np.random.default_rng(5)

    def random(*shape):
        return rng.standard_normal((ITEMS, *shape)).astype(np.float32)

    for batch in (1, 4):
        save(folder, f"attention_{batch}", Attention(), batch, random(3, 8, 8))
    save(folder, "recurrent_2", Recurrent(), 2, random(3, 4))
    save(folder, "mixing_1", Mixing(), 1, random(4))
    save(folder, "mixing_3", Mixing(), 3, random(4))
    save(folder, "several_2", Several(), 2, rng.integers(0, 10, ITEMS), random(4))
    save(folder, "half_1", Half(), 1, random(4).astype(np.float16))


if __name__ == "__main__":
    main()
