"""A file beside the script, as scripts import their network."""


class Net:
    def __call__(self, number: float) -> float:
        return 2 * number
