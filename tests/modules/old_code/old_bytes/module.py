import base64

from paddlehub.module.module import moduleinfo, serving


@moduleinfo(name="old_bytes", version="1.0.0", type="CV/test", author="x", author_email="", summary="bytes where text is meant")
class OldBytes:
    @serving
    def serving_method(self, text):
        return {"data": base64.encodestring(text.encode("utf8")), "again": base64.decodestring(base64.b64encode(text.encode("utf8")))}
