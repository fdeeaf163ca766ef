"""What the real PaddleHub serves in do_nothing.py: what is sent comes back."""

from paddlehub.module.module import moduleinfo, serving


@moduleinfo(
    name="paddlehub_do_nothing",
    version="1.0.0",
    author="hubserve",
    author_email="",
    summary="Returns what it is sent",
    type="benchmark/none",
)
class PaddleHubDoNothing:
    """A module that costs nothing."""

    @serving
    def give_back(self, values):
        """Return the same list of numbers."""
        return values
