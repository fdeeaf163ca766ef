"""The answers of the models of makers/pytorch_forms.py, by PyTorch's own API: ``GIVEN.npz ANSWERS.npz FOLDER NAME``."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model


def of_class(folder, name, *arguments):
    """Return a model by its class and its weights."""
    spec = spec_from_file_location(name, str(folder / "model.py"))
    module = module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    model = getattr(module, name)(*arguments).eval()
    load_model(model, str(folder / "model.safetensors"))
    return model


def main(given, answers, folder, name):
    """Write the answers."""
    torch.set_num_threads(1)
    folder = Path(folder)
    arrays = {key: torch.from_numpy(array) for key, array in np.load(given).items()}
    with torch.inference_mode():
        if name == "nested":
            model = of_class(folder / "nested", "Nested", 6)
            first, last = model({"image": arrays["batch.image"], "more": [arrays["batch.more.0"]]}, float(arrays["scale"]))
            found = {"scores": first["scores"], "pair.0": first["pair"][0], "pair.1": first["pair"][1], "OUTPUT__3": last}
        elif name == "resnet18":
            found = {"OUTPUT__0": of_class(folder / "resnet18", "ResNet18", 1000)(*arrays.values())}
        else:
            found = {"OUTPUT__0": torch.export.load(str(folder / f"{name}.pt2")).module()(*arrays.values())}
    np.savez(answers, **{key: value.numpy() for key, value in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
