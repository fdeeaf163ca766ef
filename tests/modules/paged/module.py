"""A module with a page: what create_gradio_app returns is served by the standard library, with gradio's way of launching."""

import base64
import hashlib
import importlib
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hubserve.module import moduleinfo, serving


@moduleinfo(name="paged", version="1.0.0", summary="Has a page")
class Paged:
    def __init__(self, suffix="!", fails=""):
        self.suffix = suffix
        self.fails = fails

    @serving
    def shout(self, text):
        return text.upper() + self.suffix

    def create_gradio_app(self):
        if self.fails == "gradio":
            gradio = importlib.import_module("gradio")  # not by an import statement, so that nothing takes it for a need
            return gradio.Interface(self.shout, "text", "text")
        if self.fails:
            raise RuntimeError(self.fails)
        return App(self)


class App:
    def __init__(self, module):
        self.module = module
        self.go_on = threading.Event()
        self.left = threading.Event()

    def launch(self, server_name=None, server_port=None, root_path="", prevent_thread_lock=False, share=None):
        handler = type("Handler", (Handler,), {"app": self, "root_path": root_path})
        server = ThreadingHTTPServer((server_name, server_port), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/headers":
            self.answer(json.dumps({name.lower(): value for name, value in self.headers.items()}).encode())
            return
        if path == "/":
            about = {"root": self.root_path, "host": self.headers["Host"], "pid": os.getpid(), "cwd": os.listdir(".")}
            self.answer(json.dumps(about).encode(), Content_Type="text/html", Set_Cookie="session=1")
        elif path == "/large":
            self.answer(bytes(range(256)) * (int(query) // 256))
        elif path == "/events":
            self.events()
        elif path == "/watch":
            self.watch()
        elif path == "/left":
            self.answer(b"yes" if self.app.left.is_set() else b"no")
        elif path == "/seen":
            self.answer(json.dumps(dict(self.headers.items())).encode())
        elif path == "/go":
            self.app.go_on.set()
            self.answer(b"")
        elif path == "/ws":
            self.websocket()
        elif path == "/break":
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        elif path == "/die":
            os._exit(3)
        else:
            self.answer(self.path.encode(), 404)

    do_HEAD = do_GET

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(json.dumps({"data": [self.app.module.shout(each) for each in body["data"]]}).encode(), Content_Type="application/json")

    def events(self):
        """Send a second event only once another request has asked for it."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in (b"data: first\n\n", b"data: second\n\n", b""):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            self.wfile.flush()
            if event:
                self.app.go_on.wait(30)

    def watch(self):
        """Send until the client has left."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b".")
                time.sleep(0.01)
        except OSError:
            self.app.left.set()
            self.close_connection = True

    def websocket(self):
        """Echo text frames of up to 125 bytes, in capitals."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        while True:
            kind, length = self.rfile.read(2)
            mask, data = self.rfile.read(4), self.rfile.read(length & 127)
            text = bytes(each ^ mask[index % 4] for index, each in enumerate(data))
            if kind == 0x88:
                break
            self.wfile.write(bytes([0x81, len(text)]) + text.upper())
        self.close_connection = True
