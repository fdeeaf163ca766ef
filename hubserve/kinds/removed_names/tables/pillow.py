"""Names that Pillow removed in 9.5 to 13."""

from typing import Dict

_OWN = "hubserve.kinds.removed_names.replacements.pillow"

NAMES: Dict[str, str] = {
    "PIL.PILLOW_VERSION": "PIL:__version__",
    "PIL.VERSION": "PIL:__version__",
    "PIL.Image.ANTIALIAS": "PIL.Image:Resampling.LANCZOS",
    "PIL.Image.CONTAINER": f"{_OWN}:CONTAINER",
    "PIL.Image.CUBIC": "PIL.Image:Resampling.BICUBIC",
    "PIL.Image.LINEAR": "PIL.Image:Resampling.BILINEAR",
    "PIL.Image.NORMAL": f"{_OWN}:NORMAL",
    "PIL.Image.PILLOW_VERSION": "PIL:__version__",
    "PIL.Image.SEQUENCE": f"{_OWN}:SEQUENCE",
    "PIL.Image.VERSION": "PIL:__version__",
    "PIL.Image.fromstring": "PIL.Image:frombytes",
    "PIL.Image.isImageType": f"{_OWN}:is_image",
    # aliases of members of enumerations, which some versions lack
    **{f"PIL.Image.{name}": f"PIL.Image:Resampling.{name}" for name in ["NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS"]},
    **{
        f"PIL.Image.{name}": f"PIL.Image:Transpose.{name}"
        for name in ["FLIP_LEFT_RIGHT", "FLIP_TOP_BOTTOM", "ROTATE_90", "ROTATE_180", "ROTATE_270", "TRANSPOSE", "TRANSVERSE"]
    },
    **{f"PIL.Image.{name}": f"PIL.Image:Transform.{name}" for name in ["AFFINE", "EXTENT", "PERSPECTIVE", "QUAD", "MESH"]},
    **{f"PIL.Image.{name}": f"PIL.Image:Dither.{name}" for name in ["ORDERED", "RASTERIZE", "FLOYDSTEINBERG"]},
    **{f"PIL.Image.{name}": f"PIL.Image:Palette.{name}" for name in ["WEB", "ADAPTIVE"]},
    **{f"PIL.Image.{name}": f"PIL.Image:Quantize.{name}" for name in ["MEDIANCUT", "MAXCOVERAGE", "FASTOCTREE", "LIBIMAGEQUANT"]},
    "PIL.ImageFont.LAYOUT_BASIC": "PIL.ImageFont:Layout.BASIC",
    "PIL.ImageFont.LAYOUT_RAQM": "PIL.ImageFont:Layout.RAQM",
    "PIL.ImageMath.eval": "PIL.ImageMath:unsafe_eval",
}

METHODS: Dict[str, str] = {
    "PIL.Image.Image.fromstring": "PIL.Image:Image.frombytes",
    "PIL.Image.Image.offset": f"{_OWN}:offset",
    "PIL.Image.Image.tostring": "PIL.Image:Image.tobytes",
    "PIL.ImageDraw.ImageDraw.multiline_textsize": f"{_OWN}:multiline_textsize",
    "PIL.ImageDraw.ImageDraw.textsize": f"{_OWN}:textsize",
    "PIL.ImageFont.FreeTypeFont.getoffset": f"{_OWN}:getoffset",
    "PIL.ImageFont.FreeTypeFont.getsize": f"{_OWN}:getsize",
    "PIL.ImageFont.FreeTypeFont.getsize_multiline": f"{_OWN}:getsize_multiline",
    "PIL.ImageFont.ImageFont.getsize": f"{_OWN}:getsize",
    "PIL.ImageFont.TransposedFont.getsize": f"{_OWN}:getsize",
}
