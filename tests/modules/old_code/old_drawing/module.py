from paddlehub.module.module import moduleinfo, serving
from PIL import Image, ImageDraw, ImageFont


@moduleinfo(name="old_drawing", version="1.0.0", type="CV/test", author="x", author_email="", summary="Pillow as it was")
class OldDrawing:
    @serving
    def serving_method(self, text):
        canvas = Image.new("RGB", (64, 32)).resize((32, 16), Image.ANTIALIAS)
        font = ImageFont.load_default(10)
        width, height = ImageDraw.Draw(canvas).textsize(text, font)
        return {"size": list(canvas.size), "is_wide": width > height, "same": (width, height) == tuple(font.getsize(text))}
