import numpy as np
from numpy import float as real
from paddlehub.module.module import moduleinfo, serving


@moduleinfo(
    name="old_numbers", version="1.0.0", type="CV/test", author="x", author_email="", summary="names of types and functions of numpy"
)
class OldNumbers:
    @serving
    def serving_method(self, values):
        table = np.row_stack([np.array(values, np.float), np.array(values, dtype=np.int)]).astype(real)
        best = np.array(values).astype(np.object)
        return [table.tolist(), np.product(values), bool(np.alltrue(table == table)), len(best), np.in1d(values, values[:1]).tolist()]
