"""A web server on this machine, for what reads shards over http."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class RangeServer(ThreadingHTTPServer):
    """Serves a folder; knows byte ranges unless told not to, and fails as often as it is told to."""

    ranges = True
    failures = 0
    asked: list[str]
    """The byte ranges of all requests; empty for a whole file."""

    @property
    def address(self) -> str:
        """Of the folder that is served."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class RangeHandler(SimpleHTTPRequestHandler):
    """One request."""

    server: RangeServer

    def do_GET(self) -> None:
        """Send the bytes that were asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.server.asked.append(self.headers.get("Range", ""))
        if asked and self.server.failures:
            self.server.failures -= 1
            self.send_error(503)
        elif asked and self.server.ranges and Path(self.translate_path(self.path)).is_file():
            content = Path(self.translate_path(self.path)).read_bytes()
            part = content[int(asked[1]) : int(asked[2]) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {asked[1]}-{asked[2]}/{len(content)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[RangeServer]:
    """Serve a folder while the block lasts."""
    server = RangeServer(("127.0.0.1", 0), lambda *args: RangeHandler(*args, directory=str(folder)))
    server.asked = []
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
