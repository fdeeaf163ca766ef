"""Tells the size of pictures; what it takes as JSON has nothing to do with them."""

from hubserve.module import moduleinfo, pictures, serving


@moduleinfo(name="sizes", version="1.0.0", summary="Width and height of pictures")
class Sizes:
    @serving
    def add(self, first, second, unit="px"):
        return f"{first + second} {unit}"

    @pictures
    def measure(self, images, unit="px"):
        return [f"{image.shape[1]} x {image.shape[0]} {unit}" for image in images]
