"""OneFlow's ``nn.Graph``, of the network that makers/oneflow_model.py saved, with its weights."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "makers"))

import oneflow as flow
import oneflow_model
from main import main


def load(model, threads):
    """Return the function of a folder that the maker filled."""
    name = "tiny"
    weights = flow.load(str(model / "weights"))
    if len(weights) > 10:
        name = "resnet50" if len(weights) > 200 else "resnet18"
    network = oneflow_model.network(name)
    network.load_state_dict(weights)
    flow.set_num_threads(threads)
    graph = oneflow_model.Graph(network)

    def run(arrays):
        return {"OUTPUT_0": graph(flow.tensor(arrays["INPUT_0"])).numpy()}

    return run


if __name__ == "__main__":
    main(load)
