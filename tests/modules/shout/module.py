"""A do-little module: what it is sent comes back louder."""

from hubserve.module import moduleinfo, runnable, serving


@moduleinfo(name="shout", version="1.0.0", author="hubserve", summary="Says it louder", type="test/text")
class Shout:
    def __init__(self, suffix="!"):
        self.suffix = suffix

    @serving
    def shout(self, text):
        return text.upper() + self.suffix

    @runnable
    def run(self, argv):
        return self.shout(" ".join(argv))
