"""Train the ``Net`` of a script's ``net.py`` on digits: ``python tiinfer_pytorch.py FOLDER SCRIPT_FOLDER DIGITS.npz``."""

import sys
from pathlib import Path

import numpy as np
import torch


def main() -> None:
    """Write ``mnist_cnn.pt``, a dictionary of weights."""
    folder, script, digits = map(Path, sys.argv[1:])
    sys.path.insert(0, str(script))
    from net import Net  # type: ignore[import-not-found]

    with np.load(digits) as loaded:
        pictures, labels = torch.tensor(loaded["pictures"]), torch.tensor(loaded["labels"])
    pictures = (pictures[:, None].float() / 255 - 0.1307) / 0.3081
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(2):
        for some in torch.randperm(len(pictures)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.nll_loss(net(pictures[some]), labels[some]).backward()
            optimizer.step()
    torch.save(net.state_dict(), folder / "mnist_cnn.pt")


main()
