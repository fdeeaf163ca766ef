"""Draw the result: boxes with numbers, and beside them a list of the texts.

OpenCV 5 includes a font with Chinese characters. Older versions draw ASCII only; with them Pillow draws the list, if it is installed, and a
question mark replaces a character that no installed font has. The numbers always refer to the printed results.
"""

import sys
from pathlib import Path

import numpy as np

from hubserve.errors import InvalidInput
from hubserve.vision.opencv import opencv

_BLUE, _WHITE = (200, 60, 0), (255, 255, 255)  # BGR
_SIZE_PX, _LINE_PX, _MARGIN_PX = 18, 26, 12
#: folders of fonts, and names of fonts: those with Chinese characters first
_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts", "/System/Library/Fonts", "C:/Windows/Fonts")
_NAMES = ("NotoSansCJK", "NotoSansSC", "SourceHanSans", "wqy", "DroidSansFallback", "simhei", "msyh", "PingFang", "STHeiti", "DejaVuSans.")
#: a code point that no font has: it is drawn like any missing character
_MISSING = "\U0010fffe"


def draw(picture, lines, font_path=None):
    """Draw the lines of a picture.

    Args:
        picture: uint8 (H, W, 3), BGR.
        lines: TextLines, in order.
        font_path: of the font; None for OpenCV's, or one of this machine's.
    Returns:
        uint8 (h, w, 3), BGR: the picture with boxes, and the list on its right.
    """
    marked = picture.copy()
    for number, line in enumerate(lines, 1):
        _mark(marked, line.box, number)
    texts = [f"{number}  {line.text}  {line.confidence:.2f}" for number, line in enumerate(lines, 1)]
    if not texts:
        return marked
    write = _legend_by_opencv if hasattr(opencv(), "FontFace") else _legend_by_pillow
    legend = write(texts, font_path)
    height = max(len(marked), len(legend)) if legend is not None else len(marked)
    return np.hstack([_filled_up(each, height) for each in (marked, legend) if each is not None])


def _mark(picture, box, number):
    cv2 = opencv()
    corners = np.round(box).astype(np.int32)
    cv2.polylines(picture, [corners.reshape(-1, 1, 2)], True, _BLUE, 1, cv2.LINE_AA)
    x, y = corners[0].tolist()
    cv2.putText(picture, str(number), (x, max(10, y - 2)), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _BLUE, 1, cv2.LINE_AA)


def _legend_by_opencv(texts, font_path):
    cv2 = opencv()
    font = cv2.FontFace("uni")
    if font_path is not None and not font.set(str(font_path)):
        raise _no_font(font_path, "OpenCV cannot use it")
    width = max(cv2.getTextSize((0, 0), text, (0, 0), font, _SIZE_PX)[2] for text in texts) + 2 * _MARGIN_PX
    legend = np.full((len(texts) * _LINE_PX + 2 * _MARGIN_PX, width, 3), 255, np.uint8)
    for row, text in enumerate(texts):
        cv2.putText(legend, text, (_MARGIN_PX, _MARGIN_PX + row * _LINE_PX + _SIZE_PX), (0, 0, 0), font, _SIZE_PX)
    return legend


def _no_font(path, why):
    return InvalidInput(f"cannot read the font '{path}': {why}. Give a .ttf, .ttc or .otf file.")


def _legend_by_pillow(texts, font_path):
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        print("Pillow is not installed, so the pictures show numbers without texts. Run: pip install pillow", file=sys.stderr)
        return None
    font = _font(font_path, texts)
    texts = [_drawable(text, font) for text in texts]
    width = max(int(font.getlength(text)) for text in texts) + 2 * _MARGIN_PX
    image = Image.new("RGB", (width, len(texts) * _LINE_PX + 2 * _MARGIN_PX), _WHITE)
    canvas = ImageDraw.Draw(image)
    for row, text in enumerate(texts):
        canvas.text((_MARGIN_PX, _MARGIN_PX + row * _LINE_PX), text, fill=(0, 0, 0), font=font)
    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])


def _font(path, texts):
    """Return the font at ``path``, or the installed one with the most of the characters."""
    from PIL import ImageFont

    if path is not None:
        try:
            return ImageFont.truetype(str(path), _SIZE_PX)
        except OSError as error:
            raise _no_font(path, error) from None
    wanted = set("".join(texts))
    best, fewest = ImageFont.load_default(_SIZE_PX), None
    for candidate in _candidates():
        try:
            font = ImageFont.truetype(str(candidate), _SIZE_PX)
        except OSError:
            continue
        missing = len(wanted - _known(font, wanted))
        if fewest is None or missing < fewest:
            best, fewest = font, missing
        if not missing:
            break
    if fewest:
        print(f"no font here has all of the characters; {fewest} are drawn as '?'. Give one with --font FILE", file=sys.stderr)
    return best


def _candidates():
    files = [path for folder in _FOLDERS for path in sorted(Path(folder).expanduser().rglob("*.[to]t[fc]"))]
    return [path for name in _NAMES for path in files if path.name.lower().startswith(name.lower())]


def _known(font, characters):
    unknown = bytes(font.getmask(_MISSING))
    return {each for each in characters if each.isspace() or bytes(font.getmask(each)) != unknown}


def _drawable(text, font):
    known = _known(font, set(text))
    return "".join(each if each in known else "?" for each in text)


def _filled_up(picture, height):
    return np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0)), constant_values=255)
