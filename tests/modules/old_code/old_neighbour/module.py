import old_python.module
from old_numbers.module import OldNumbers
from paddlehub.module.module import moduleinfo, serving


@moduleinfo(name="old_neighbour", version="1.0.0", type="CV/test", author="x", author_email="", summary="what other modules have")
class OldNeighbour:
    @serving
    def serving_method(self, values):
        return [OldNumbers().serving_method(values)[1], old_python.module.OldPython.__name__]
