"""A server that answers for ever, or without end, costs bounded time and memory."""

import gzip
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import pytest
from websockets.sync.server import ServerConnection, serve

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.http import AnswerLimits
from influencerai_dagster.engines.comfyui.progress_socket import ProgressSocket
from influencerai_dagster.engines.comfyui.values import OutputFile
from influencerai_dagster.errors import InfluencerAIError, PermanentError, TransientError
from influencerai_dagster_tests.testing.comfyui_workflows import run_alone

MIB = 1024**2
LIMITS = AnswerLimits(json_bytes=MIB, image_bytes=MIB, video_bytes=2 * MIB)
TIMEOUT_SECONDS = 0.3
QUICK_LIMITS = replace(LIMITS, file_seconds=TIMEOUT_SECONDS)
# Far below the time for which such a server would hold a request, far above a busy machine's.
SOON_SECONDS = 15.0
Answer = Callable[[socket.socket], None]


def _send_for_ever(piece: bytes, *, head: bytes, pause_seconds: float = 0.0) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            if pause_seconds:
                time.sleep(pause_seconds)

    return answer


def _head(*lines: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *lines, "", "")).encode()


@cache
def _packed() -> bytes:
    return gzip.compress(bytes(64 * MIB), compresslevel=1)


def _gzip_bomb(connection: socket.socket) -> None:
    content = _packed()
    length = f"Content-Length: {len(content)}"
    connection.sendall(_head("Content-Encoding: gzip", length) + content)


def _never_read(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while connection.recv(1):
        time.sleep(0.1)


HUGE = _head("Content-Length: 1000000000000")
CHUNK = b"100000\r\n" + b"[" * MIB + b"\r\n"
CHUNKED = _head("Transfer-Encoding: chunked")
SLOW: dict[str, Answer] = {
    "a byte now and then": _send_for_ever(b"x", head=HUGE, pause_seconds=0.05),
    "headers a byte now and then": _send_for_ever(
        b"x", head=b"HTTP/1.1 200 OK\r\nX-Head: ", pause_seconds=0.05
    ),
    "nothing": _send_for_ever(b"", head=b"", pause_seconds=0.1),
}
LARGE: dict[str, Answer] = {
    "endless": _send_for_ever(b"x" * MIB, head=HUGE),
    "endless chunks": _send_for_ever(CHUNK, head=CHUNKED),
    "endless until closed": _send_for_ever(b"x" * MIB, head=_head()),
    "gzip bomb": _gzip_bomb,
}


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """A server that gives every connection the same answer; ends with the client."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve_one(connection: socket.socket) -> None:
        with connection:
            try:
                if answer is not _never_read:
                    connection.recv(65536)
                answer(connection)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


ASKED: dict[str, Callable[[ComfyUIClient], object]] = {
    "view": lambda client: client.view(OutputFile("image.png")),
    "view of a video": lambda client: client.view(OutputFile("video.MP4")),
    "history": lambda client: client.history("prompt"),
    "queue": ComfyUIClient.queue,
    "object_info": ComfyUIClient.object_info,
    "prompt": lambda client: client.submit({}, prompt_id="prompt", client_id="me"),
    "upload": lambda client: client.upload_image(b"x", file_name="image.png"),
}
SLOWLY_ASKED = ("view", "queue", "upload")


@pytest.mark.parametrize("ask", [ASKED[name] for name in SLOWLY_ASKED], ids=SLOWLY_ASKED)
@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
def test_an_answer_that_never_ends_is_given_up_at_its_deadline(
    answer: Answer, ask: Callable[[ComfyUIClient], object]
) -> None:
    started = time.monotonic()
    with (
        server(answer) as url,
        ComfyUIClient(url, timeout_seconds=TIMEOUT_SECONDS, limits=QUICK_LIMITS) as client,
        pytest.raises(TransientError, match="no answer in time"),
    ):
        ask(client)
    assert time.monotonic() - started < SOON_SECONDS


def test_an_upload_that_is_read_byte_by_byte_is_given_up_at_its_deadline() -> None:
    started = time.monotonic()
    with (
        server(_never_read) as url,
        ComfyUIClient(url, limits=QUICK_LIMITS) as client,
        pytest.raises(TransientError, match="no answer in time"),
    ):
        client.upload_image(bytes(64 * MIB), file_name="image.png")
    assert time.monotonic() - started < SOON_SECONDS


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("answer", LARGE.values(), ids=LARGE)
def test_an_answer_without_end_is_not_kept_in_memory(
    answer: Answer, ask: Callable[[ComfyUIClient], object]
) -> None:
    with (
        server(answer) as url,
        ComfyUIClient(url, limits=LIMITS) as client,
    ):
        _packed()
        tracemalloc.start()
        with pytest.raises(InfluencerAIError, match=r"more than|compressed"):
            ask(client)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes < 16 * MIB


def test_a_file_that_is_too_large_is_the_workflows_fault_and_not_the_servers() -> None:
    with (
        server(LARGE["endless"]) as url,
        ComfyUIClient(url, limits=LIMITS) as client,
        pytest.raises(PermanentError, match=r"file 'image\.png' has more than 1048576 bytes"),
    ):
        client.view(OutputFile("image.png"))


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        (AnswerLimits(num_files=3), "saved 4 files; at most 3 are fetched"),
        (AnswerLimits(run_bytes=3000), "more than 3000 bytes"),
    ],
    ids=["too many", "too large together"],
)
def test_a_run_with_more_files_than_are_fetched_fails_with_the_reason(
    limits: AnswerLimits, problem: str
) -> None:
    images = [{"filename": f"{number}.png", "type": "output"} for number in range(4)]
    entry = {
        "outputs": {"9": {"images": images}},
        "status": {"status_str": "success", "completed": True, "messages": []},
    }

    def answer(connection: socket.socket) -> None:
        # The request was read already: every path gets history, which is a file of 1 kB too.
        body = json.dumps({"prompt": entry}).encode().ljust(1024)
        connection.sendall(_head(f"Content-Length: {len(body)}", "Connection: close") + body)

    with (
        server(answer) as url,
        ComfyUIClient(url, limits=limits) as client,
        pytest.raises(PermanentError, match=problem),
    ):
        run_alone(client, {}, prompt_id="prompt", timeout_seconds=SOON_SECONDS)


def test_a_message_of_the_progress_socket_that_is_too_large_ends_the_socket() -> None:
    def send(connection: ServerConnection) -> None:
        connection.recv()  # the client's first message: the socket is open on both sides
        connection.send(bytes(9 * MIB))

    with serve(send, "127.0.0.1", 0, compression=None) as websocket:
        threading.Thread(target=websocket.serve_forever, daemon=True).start()
        port = websocket.socket.getsockname()[1]
        with (
            ComfyUIClient(f"http://127.0.0.1:{port}") as client,
            ProgressSocket(client.connection) as progress,
            pytest.raises(TransientError, match="closed"),
        ):
            progress.receive(SOON_SECONDS)
