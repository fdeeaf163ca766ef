"""Save a graph with random weights as ``model``, its weights alone as ``weights``. Arguments: FOLDER tiny|resnet18|resnet50."""

import sys
from pathlib import Path

import oneflow as flow
import resnets
from oneflow import nn

SIDES_PX = {"tiny": 32, "resnet18": 224, "resnet50": 224}


class Graph(nn.Graph):
    """The network as a static graph."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def build(self, *inputs):
        return self.model(*inputs)


def network(name):
    """Return a network of a name."""
    return resnets.tiny(nn) if name == "tiny" else resnets.resnet(nn, int(name[len("resnet") :]))


def main():
    """Write the folders."""
    folder, name = sys.argv[1:]
    flow.manual_seed(3)
    model = network(name)
    graph = Graph(model)
    graph(flow.ones((1, 3, SIDES_PX[name], SIDES_PX[name])))
    flow.save(graph, str(Path(folder, "model")))
    flow.save(model.state_dict(), str(Path(folder, "weights")))


if __name__ == "__main__":
    main()
