"""MegEngine Lite by its own API."""

import numpy as np
from main import main
from megenginelite import LiteConfig, LiteDeviceType, LiteNetwork


def load(model, threads):
    """Return the function of a ``.mge`` file."""
    network = LiteNetwork(LiteConfig(device_type=LiteDeviceType.LITE_CPU))
    network.threads_number = threads
    network.load(str(model))

    def run(arrays):
        for name, array in arrays.items():
            network.get_io_tensor(name).set_data_by_copy(np.ascontiguousarray(array))
        network.forward()
        network.wait()
        return {name: network.get_io_tensor(name).to_numpy() for name in network.get_all_output_name()}

    return run


if __name__ == "__main__":
    main(load)
