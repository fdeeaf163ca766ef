"""Removed functions of Pillow, rebuilt on present ones."""

from typing import Any, List, Tuple

#: old constants for the kinds of pictures
NORMAL, SEQUENCE, CONTAINER = 0, 1, 2

Size = Tuple[int, int]


def is_image(value: Any) -> bool:
    """Return True for a picture."""
    from PIL import Image

    return isinstance(value, Image.Image)


def offset(image: Any, xoffset: int, yoffset: Any = None) -> Any:
    """Shift a picture's content, wrapped around its edges."""
    from PIL import ImageChops

    return ImageChops.offset(image, xoffset, yoffset)


def getsize(font: Any, text: Any, *args: Any, **kwargs: Any) -> Size:
    """Return the width and height of a line; the height includes the space above its letters."""
    left, top, right, bottom = font.getbbox(text, **_by_name(args, kwargs))
    height = bottom + kwargs.get("stroke_width", 0) if hasattr(font, "path") or hasattr(font, "layout_engine") else bottom - top
    return int(right - left), int(height)


def getoffset(font: Any, text: Any) -> Size:
    """Return the offset of a line's letters."""
    left, top, _, _ = font.getbbox(text)
    return int(left), int(top)


def getsize_multiline(
    font: Any, text: Any, direction: Any = None, spacing: float = 4, features: Any = None, language: Any = None, stroke_width: float = 0
) -> Size:
    """Return the width and height of several lines."""
    options = {"direction": direction, "features": features, "language": language, "stroke_width": stroke_width}
    lines = _lines(text)
    line_height = getsize(font, "A", stroke_width=stroke_width)[1] + spacing
    width = max(getsize(font, line, **options)[0] for line in lines)
    return width, int(line_height * len(lines) - spacing)


def textsize(
    draw: Any,
    text: Any,
    font: Any = None,
    spacing: float = 4,
    direction: Any = None,
    features: Any = None,
    language: Any = None,
    stroke_width: float = 0,
) -> Size:
    """Return the width and height of a drawn text."""
    font = font or draw.getfont()
    if len(_lines(text)) > 1:
        return multiline_textsize(draw, text, font, spacing, direction, features, language, stroke_width)
    if not hasattr(font, "layout_engine"):
        return getsize(font, text)
    return getsize(font, text, direction=direction, features=features, language=language, stroke_width=stroke_width)


def multiline_textsize(draw: Any, text: Any, font: Any = None, spacing: float = 4, *args: Any, **kwargs: Any) -> Size:
    """Return the width and height of several drawn lines."""
    font = font or draw.getfont()
    options = _by_name(args, kwargs)
    line_height = textsize(draw, "A", font, stroke_width=options.get("stroke_width", 0))[1] + spacing
    lines = _lines(text)
    return max(textsize(draw, line, font, spacing, **options)[0] for line in lines), int(line_height * len(lines) - spacing)


def _lines(text: Any) -> List[Any]:
    return list(text.split(b"\n" if isinstance(text, bytes) else "\n"))


def _by_name(args: Tuple[Any, ...], kwargs: Any) -> Any:
    return {**dict(zip(("direction", "features", "language", "stroke_width"), args)), **kwargs}
