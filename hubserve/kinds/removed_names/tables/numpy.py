"""Names that numpy removed in 1.20 to 2.4."""

from typing import Dict

_OWN = "hubserve.kinds.removed_names.replacements.numpy"

NAMES: Dict[str, str] = {
    # aliases of Python's own types, until 1.24
    "numpy.bool": "builtins:bool",
    "numpy.complex": "builtins:complex",
    "numpy.float": "builtins:float",
    "numpy.int": "builtins:int",
    "numpy.long": "builtins:int",
    "numpy.object": "builtins:object",
    "numpy.str": "builtins:str",
    "numpy.unicode": "builtins:str",
    # aliases of scalar types
    "numpy.bool8": "numpy:bool_",
    "numpy.bytes0": "numpy:bytes_",
    "numpy.cfloat": "numpy:complex128",
    "numpy.clongfloat": "numpy:clongdouble",
    "numpy.complex_": "numpy:complex128",
    "numpy.float_": "numpy:float64",
    "numpy.int0": "numpy:intp",
    "numpy.longcomplex": "numpy:clongdouble",
    "numpy.longfloat": "numpy:longdouble",
    "numpy.object0": "numpy:object_",
    "numpy.singlecomplex": "numpy:complex64",
    "numpy.str0": "numpy:str_",
    "numpy.string_": "numpy:bytes_",
    "numpy.uint0": "numpy:uintp",
    "numpy.unicode_": "numpy:str_",
    "numpy.void0": "numpy:void",
    # constants
    "numpy.Inf": "numpy:inf",
    "numpy.Infinity": "numpy:inf",
    "numpy.NAN": "numpy:nan",
    "numpy.NINF": f"{_OWN}:NINF",
    "numpy.NZERO": f"{_OWN}:NZERO",
    "numpy.NaN": "numpy:nan",
    "numpy.PINF": "numpy:inf",
    "numpy.PZERO": f"{_OWN}:PZERO",
    "numpy.infty": "numpy:inf",
    # renamed functions
    "numpy.alltrue": "numpy:all",
    "numpy.cumproduct": "numpy:cumprod",
    "numpy.loads": "pickle:loads",
    "numpy.mat": "numpy:asmatrix",
    "numpy.math": "math:",
    "numpy.product": "numpy:prod",
    "numpy.rank": "numpy:ndim",
    "numpy.round_": "numpy:round",
    "numpy.row_stack": "numpy:vstack",
    "numpy.safe_eval": "ast:literal_eval",
    "numpy.sometrue": "numpy:any",
    "numpy.trapz": "numpy:trapezoid",
    "numpy.typeDict": "numpy:sctypeDict",
    "numpy.byte_bounds": "numpy.lib.array_utils:byte_bounds",
    "numpy.DataSource": "numpy.lib.npyio:DataSource",
    # removed functions
    "numpy.alen": f"{_OWN}:alen",
    "numpy.asfarray": f"{_OWN}:asfarray",
    "numpy.asscalar": f"{_OWN}:asscalar",
    "numpy.find_common_type": f"{_OWN}:find_common_type",
    "numpy.in1d": f"{_OWN}:in1d",
    "numpy.issubclass_": f"{_OWN}:issubclass_",
    "numpy.msort": f"{_OWN}:msort",
    "numpy.obj2sctype": f"{_OWN}:obj2sctype",
    # financial functions, now in a package of their own
    "numpy.fv": "",
    "numpy.irr": "",
    "numpy.npv": "",
    "numpy.pmt": "",
}

#: present functions that refuse arguments that they once took
WRAPPED: Dict[str, str] = {"numpy.fromstring": f"{_OWN}:fromstring"}

METHODS: Dict[str, str] = {
    "numpy.ndarray.itemset": f"{_OWN}:ndarray_itemset",
    "numpy.ndarray.newbyteorder": f"{_OWN}:ndarray_newbyteorder",
    "numpy.ndarray.ptp": f"{_OWN}:ndarray_ptp",
    "numpy.ndarray.tostring": f"{_OWN}:ndarray_tostring",
}
