"""Paddle's predictor by its own API; the same in Paddle 2 and 3."""

from main import main
from paddle.inference import Config, create_predictor


def load(model, threads):
    """Return the function of a ``.pdmodel`` file."""
    config = Config(str(model), str(model.with_suffix(".pdiparams")))
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    predictor = create_predictor(config)

    def run(arrays):
        for name, array in arrays.items():
            predictor.get_input_handle(name).copy_from_cpu(array)
        predictor.run()
        return {name: predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()}

    return run


if __name__ == "__main__":
    main(load)
