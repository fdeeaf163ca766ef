"""TorchScript, or a program of torch.export, by PyTorch's own API."""

import torch
from main import main


def load(model, threads):
    """Return the function of a ``.pt`` or ``.pt2`` file."""
    torch.set_num_threads(threads)
    network = torch.export.load(str(model)).module() if model.suffix == ".pt2" else torch.jit.load(str(model)).eval()

    def run(arrays):
        with torch.inference_mode():
            return {"scores": network(torch.from_numpy(arrays["data"])).numpy()}

    return run


if __name__ == "__main__":
    main(load)
