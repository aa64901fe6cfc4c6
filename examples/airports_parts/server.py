"""
A server of CSV pages over real HTTP that refuses every fifth request, and the call that gets a page from it.

It is here to give the pipeline something to retry. Retrying is the pipeline's business, never this module's.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import cast
from urllib.parse import parse_qs, urlsplit

DATA = Path(__file__).parents[1] / "data"
PAGE_SIZE = 1000
REFUSED_EVERY = 5

Record = dict[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """Some records of a dataset, and how many pages the whole of it has."""

    records: list[Record]
    pages: int


class UnreliableServer(ThreadingHTTPServer):
    """
    Serves each CSV file of a folder by pages, as `/airports?page=3`, and answers 503 to every fifth request.

    All four files are 24 pages, hence 29 requests of which 5 are refused, in whatever order they come. So a
    client that retries a page five times always gets it.
    """

    daemon_threads = True
    # All pages may be asked for at once; the usual backlog of 5 drops connections, which costs them a second.
    request_queue_size = 64

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files = {path.stem: path.read_text("utf-8").splitlines() for path in folder.glob("*.csv")}
        self.requests = 0
        self.refused = 0
        self._counting = Lock()

    @property
    def address(self) -> str:
        """Where it listens, as `127.0.0.1:49152`; the port is another one each time."""
        return f"127.0.0.1:{self.server_port}"

    def refuses(self) -> bool:
        """Count one more request, and tell whether it is one to refuse."""
        with self._counting:
            self.requests += 1
            refused = self.requests % REFUSED_EVERY == 0
            self.refused += refused
            return refused


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = cast("UnreliableServer", self.server)
        if server.refuses():
            return self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
        url = urlsplit(self.path)
        lines = server.files.get(url.path.strip("/"), [])
        page = parse_qs(url.query).get("page", ["1"])[0]
        pages = math.ceil((len(lines) - 1) / PAGE_SIZE)
        if not page.isdecimal() or not 1 <= int(page) <= pages:
            return self.send_error(HTTPStatus.NOT_FOUND)
        start = (int(page) - 1) * PAGE_SIZE + 1
        body = "\n".join([lines[0], *lines[start : start + PAGE_SIZE], ""]).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/csv; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Pages", str(pages))
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent: the pipeline's own log tells of each retry."""


@contextmanager
def unreliable_server(folder: Path = DATA) -> Generator[UnreliableServer]:
    """Serve *folder* on a free port of this machine until the block ends."""
    with UnreliableServer(folder) as server:
        # shutdown() waits until the loop looks up again, by default half a second.
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def get_page(address: str, dataset: str, page: int) -> Page:
    """
    Get one page of a dataset, numbered from 1.

    Raises:
        ConnectionError: The server answered anything but 200.
    """
    # Not urlopen: it obeys http_proxy, and a proxy knows nothing of our loopback.
    with closing(HTTPConnection(address, timeout=10)) as connection:
        path = f"/{dataset}?page={page}"
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != HTTPStatus.OK:
            raise ConnectionError(f"GET {path} was answered {answer.status} {answer.reason}")
        records = list(csv.DictReader(answer.read().decode().splitlines()))
        return Page(records, pages=int(answer.headers["X-Pages"]))
