"""Hosts for tests: a web server over a folder, and fsspec's file system in memory."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Handler(SimpleHTTPRequestHandler):
    """Serve files and ranges of them, and no lists of folders; requests are noted, some fail."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits for 40 ms

    def do_HEAD(self) -> None:
        if not self._answered():
            super().do_HEAD()

    def _answered(self) -> bool:
        host: Any = self.server
        for pattern, answer in host.answers.items():
            if re.search(pattern, self.path):
                answer(self)
                return True
        return False

    def do_GET(self) -> None:
        host: Any = self.server
        host.requests.append((self.path, self.headers.get("Authorization")))
        if self._answered():
            return
        part = re.fullmatch(r"bytes=(\d*)-(\d+)", self.headers.get("Range", ""))
        file = Path(self.translate_path(self.path))
        if part and host.parts and file.is_file():
            self._send_part(file.read_bytes(), *part.groups())
        else:
            super().do_GET()

    def _send_part(self, whole: bytes, first: str, last: str) -> None:
        start = int(first) if first else max(0, len(whole) - int(last))
        found = whole[start : int(last) + 1] if first else whole[start:]
        if not found:
            self.send_error(416)
            return
        self.send_response(206)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)
        host: Any = self.server
        host.sent += len(found)

    def list_directory(self, _path: object) -> None:
        self.send_error(404)

    def log_message(self, *_words: object) -> None:
        pass


def fail(status: int) -> Callable[[Handler], None]:
    """Return an answer: an error."""
    return lambda handler: handler.send_error(status)


def break_off(handler: Handler) -> None:
    """Answer with less than was announced."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"torn")
    handler.close_connection = True


@contextmanager
def serving(folder: Path) -> Iterator[SimpleNamespace]:
    """Serve a folder: ``host`` (its URL), ``requests``, ``answers`` by pattern, ``server``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        state: Any = server
        state.requests, state.answers, state.parts, state.sent = [], {}, True, 0
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield SimpleNamespace(
                host=f"http://127.0.0.1:{server.server_port}",
                folder=folder,
                requests=state.requests,
                answers=state.answers,
                server=state,
            )
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def in_memory() -> Iterator[Any]:
    """Yield fsspec's file system in memory, which is empty before and after."""
    import fsspec

    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]
