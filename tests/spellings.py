"""Base64 of the same bytes as encoders, browsers and people write it."""

import base64


def spellings(data: bytes) -> dict[str, str]:
    """Return what each spelling is called, and the text."""
    plain = base64.b64encode(data).decode()
    in_lines = base64.encodebytes(data).decode()
    return {
        "on one line": plain,
        "lines that end in LF": in_lines,
        "lines that end in CRLF": in_lines.replace("\n", "\r\n"),
        "indented lines": "".join(f"    {line}\n" for line in in_lines.splitlines()),
        "without padding": plain.rstrip("="),
        "alphabet for URLs": base64.urlsafe_b64encode(data).decode(),
        "alphabet for URLs without padding": base64.urlsafe_b64encode(data).decode().rstrip("="),
        "white space around it": f" \t{plain}\r\n ",
        "data: URL": f"data:image/png;base64,{plain}",
        "data: URL in capitals": f"DATA:Image/PNG;BASE64,{plain}",
        "data: URL with parameters": f"data:image/png;name=a.png;base64,{plain}",
        "data: URL without a type": f"data:;base64,{plain}",
        "data: URL in percents": "data:image/png;base64," + plain.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        "data: URL in lines": f"\ndata:image/png;base64,\n{in_lines}",
    }
