"""A web server on this machine that drops connections, ignores ranges and forgets files."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """What it serves and how.

    Attributes:
        files: content by path.
        drops: bytes after which each of the first connections breaks off.
        ranges: whether it can go on where a client asks it to.
        asked: path and Range header of each request.
        sent: bytes of all answers.
    """

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/"
        self.files, self.drops, self.ranges = {}, [], True
        self.asked, self.sent = [], 0


@contextmanager
def serving():
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            path, wanted = self.path.lstrip("/"), self.headers.get("Range")
            server.asked.append((path, wanted))
            if path not in server.files:
                self.send_error(404)
                return
            content, start = server.files[path], 0
            if wanted and server.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            part = content[start:]
            if server.drops:
                part = part[: server.drops.pop(0)]
            server.sent += len(part)
            self.wfile.write(part)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Server(http.server_port)
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        yield server
        http.shutdown()
        thread.join()
