"""Save flowvision's resnet50 as a graph of OneFlow, for a model repository.

Run it with a Python that has oneflow 0.9.0 and flowvision 0.2.2 (docs/oneflow.md says how to install them):

    python tools/save_oneflow_resnet50.py model_repository/resnet50_oneflow/1/model --pretrained
"""

import argparse
from pathlib import Path

import oneflow as flow
from oneflow import nn

# flowvision 0.2.2 decorates functions with it, and oneflow 0.9.0 does not have it
if not hasattr(flow.jit, "_script_if_tracing"):
    flow.jit._script_if_tracing = lambda function: function

from flowvision.models.resnet import resnet50


class MyGraph(nn.Graph):
    """A module as a static graph."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def build(self, *inputs):
        """Return the module's answer."""
        return self.model(*inputs)


def main():
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder to write, called model in a model repository")
    parser.add_argument("--pretrained", action="store_true", help="download the trained weights; without it they are random")
    args = parser.parse_args()
    model = resnet50(pretrained=args.pretrained, progress=True)
    model.eval()
    graph = MyGraph(model)
    graph(flow.ones((1, 3, 224, 224)))
    args.folder.parent.mkdir(parents=True, exist_ok=True)
    flow.save(graph, str(args.folder))
    print(f"saved {args.folder}")


if __name__ == "__main__":
    main()
