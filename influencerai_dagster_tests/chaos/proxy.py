"""A TCP proxy in front of one HTTP server: it refuses, answers 503, or holds one request back.

Clients keep their connections to it, so that what it does looks like the server's own doing. It
does not parse HTTP beyond the first line of what a client sends.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

Result = TypeVar("Result")

_CHUNK_BYTES = 1 << 16
_REQUEST_LINE = re.compile(rb"(?:GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n")
_BODY = b"<Error><Code>SlowDown</Code><Message>SIMULATED fault</Message></Error>"
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/xml\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


@dataclass
class Hold:
    """A request that is kept back.

    Attributes:
        pattern: found in "METHOD path".
        is_answer: the server gets the request, and only its answer is kept.
        arrived: set when such a request is here.
        is_cut: its connection ends; the server never hears of the request.
    """

    pattern: re.Pattern[bytes]
    is_answer: bool
    loop: asyncio.AbstractEventLoop
    arrived: threading.Event = field(default_factory=threading.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    is_released: bool = False
    is_cut: bool = False

    def release(self) -> None:
        """Let it go on; safe from any thread."""
        self.is_released = True
        self.loop.call_soon_threadsafe(self.released.set)

    def cut(self) -> None:
        """Cut its connection, unless it was released before."""
        self.is_cut = not self.is_released
        self.release()


class Proxy:
    """Listens on a loopback port of its own and passes everything to another one.

    Attributes:
        num_refused: how many requests were answered by 503.
    """

    def __init__(self, upstream_port: int) -> None:
        self.port = 0
        self.num_refused = 0
        self._upstream_port = upstream_port
        self._is_busy = False
        self._hold: Hold | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._call(self._listen())

    @property
    def url(self) -> str:
        """The address of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    def refuse(self) -> None:
        """Cut all connections and take no new ones."""
        self._call(self._close())

    def answer_503(self) -> None:
        """Answer every request by 503, without asking the server."""
        self._is_busy = True

    def heal(self) -> None:
        """Pass everything again."""
        self._is_busy = False
        self._call(self._listen())

    @contextmanager
    def holding(self, pattern: bytes, *, is_answer: bool = False) -> Iterator[Hold]:
        """Keep back requests, or their answers; at the end of the block they are cut."""
        hold = self._hold = Hold(re.compile(pattern), is_answer, self._loop)
        try:
            yield hold
        finally:
            self._hold = None
            hold.cut()

    def stop(self) -> None:
        """Cut all connections for good."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = self._loop.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
            held: list[Hold] = []
            await _first_of(
                self._pass_requests(reader, upstream, writer, held.append),
                self._pass_answers(answers, writer, held),
            )
        except OSError:
            pass  # the server is away: the client finds its connection cut
        finally:
            for side in (writer, upstream):
                if side is not None:
                    side.transport.abort()

    async def _pass_requests(
        self,
        reader: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        keep_answer: Callable[[Hold], None],
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            line = _REQUEST_LINE.match(chunk)
            if line is not None and self._is_busy:
                self.num_refused += 1
                client.write(_BUSY)
                await client.drain()
                client.close()
                return
            hold = self._hold
            if line is not None and hold is not None and hold.pattern.search(line[0]):
                if hold.is_answer:
                    keep_answer(hold)
                else:
                    hold.arrived.set()
                    await hold.released.wait()
                    if hold.is_cut:
                        return
            upstream.write(chunk)
            await upstream.drain()

    async def _pass_answers(
        self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, held: list[Hold]
    ) -> None:
        while chunk := await answers.read(_CHUNK_BYTES):
            if held:
                hold = held.pop()
                hold.arrived.set()
                await hold.released.wait()
                if hold.is_cut:
                    return
            writer.write(chunk)
            await writer.drain()


async def _first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Run works at the same time until one ends; the other is stopped."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, OSError):
                await task
