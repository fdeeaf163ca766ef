"""What hubserve serves in do_nothing.py: what is sent comes back."""

from hubserve.module import moduleinfo, serving


@moduleinfo(name="do_nothing", version="1.0.0", author="hubserve", summary="Returns what it is sent", type="benchmark")
class DoNothing:
    """A module that costs nothing."""

    @serving
    def give_back(self, values):
        """Return the same list of numbers."""
        return values
