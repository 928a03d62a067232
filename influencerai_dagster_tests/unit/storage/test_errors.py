"""Each fault of an object store becomes our error, with operation, key and advice in its text."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from boto3.session import Session
from botocore.config import Config

from influencerai_dagster.errors import (
    InfluencerAIError,
    InsufficientStorageError,
    ObjectExistsError,
    ObjectNotFoundError,
    PermanentError,
    TransientError,
)
from influencerai_dagster.storage.client import s3_client_config
from influencerai_dagster.storage.errors import translated_errors
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.storage.uploads import upload

KEY = "images/acme/job/output.png"


class ThreadingServer(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
    block_on_close = False


@contextmanager
def faulty_store(
    status: int, body: bytes, content_length: int | None = None
) -> Iterator[ObjectStore]:
    """A store whose server gives every request the same answer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # answers Expect: 100-continue at once

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(content_length or len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield quick_store(f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()


SESSION = Session()  # one for all: each new one reads the description of the whole S3 API


def quick_store(url: str) -> ObjectStore:
    """A store that asks once and has a short time limit."""
    config = s3_client_config(path_style=True, checksum_mode="when_required").merge(
        Config(retries={"total_max_attempts": 1}, connect_timeout=0.3, read_timeout=0.3)
    )
    client = SESSION.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="k",
        aws_secret_access_key="s",  # noqa: S106 - no server checks it
        region_name="us-east-1",
        config=config,
    )
    return ObjectStore(client, "assets")


def answer(code: str, message: str = "told by the server") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "kind", "advice"),
    [
        (507, "InsufficientStorage", InsufficientStorageError, "free space"),
        (507, "XMinioStorageFull", InsufficientStorageError, "free space"),
        (500, "QuotaExceeded", InsufficientStorageError, "free space"),
        (403, "AccessDenied", PermanentError, "S3_KEY and S3_SECRET"),
        (403, "InvalidAccessKeyId", PermanentError, "S3_KEY and S3_SECRET"),
        (403, "SignatureDoesNotMatch", PermanentError, "S3_KEY and S3_SECRET"),
        (403, "RequestTimeTooSkewed", PermanentError, "clock"),
        (404, "NoSuchBucket", PermanentError, "S3_BUCKET"),
        (404, "NoSuchKey", ObjectNotFoundError, "never written"),
        (404, "XAdminUserNotFound", PermanentError, "S3_KEY and S3_SECRET"),
        (400, "InvalidArgument", PermanentError, "S3 API"),
        (400, "XMinioParentIsObject", PermanentError, "a folder of the same name"),
        (409, "ObjectParentIsFile", PermanentError, "a folder of the same name"),
        (409, "ExistingObjectIsDirectory", PermanentError, "a folder of the same name"),
        (501, "NotImplemented", PermanentError, "S3_CHECKSUM_MODE=when_required"),
        (400, "RequestTimeout", TransientError, "later"),
        (409, "OperationAborted", TransientError, "later"),
        (429, "TooManyRequests", TransientError, "later"),
        (500, "InternalError", TransientError, "log of the object store"),
        (502, "BadGateway", TransientError, "log of the object store"),
        (503, "SlowDown", TransientError, "log of the object store"),
    ],
    ids=lambda value: str(getattr(value, "__name__", value)),
)
def test_an_error_code_becomes_our_error(
    status: int, code: str, kind: type[InfluencerAIError], advice: str
) -> None:
    with faulty_store(status, answer(code)) as store:
        with pytest.raises(
            kind, match=f"get of '{KEY}'.*{code}.*told by the server.*{advice}"
        ) as e:
            store.get(KEY)
        assert type(e.value) is kind
        with pytest.raises(kind, match=f"put of '{KEY}'"):
            store.put_latest(KEY, b"x")
        with pytest.raises(kind, match="list of 'images/'"):
            list(store.list("images/"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, PermanentError), (503, TransientError), (507, InsufficientStorageError)],
    ids=str,
)
def test_an_answer_without_a_body_is_read_by_its_status(
    status: int, kind: type[InfluencerAIError]
) -> None:
    with faulty_store(status, b"") as store, pytest.raises(kind, match=f"head of '{KEY}'") as e:
        store.head(KEY)
    assert type(e.value) is kind


def test_the_mark_of_an_empty_folder_may_have_no_size_and_no_etag() -> None:
    listed = (
        b"<ListBucketResult><Contents><Key>d/</Key>"
        b"<LastModified>2026-11-23T16:00:00.000Z</LastModified></Contents></ListBucketResult>"
    )
    with faulty_store(200, listed) as store:
        (info,) = store.list("d/")
    assert (info.key, info.size_bytes, info.etag) == ("d/", 0, "")


@pytest.mark.parametrize("status", [304, 412])
def test_a_refused_conditional_write_is_an_object_that_exists(status: int) -> None:
    with faulty_store(status, b"") as store, pytest.raises(ObjectExistsError):
        upload(store.client, store.bucket, KEY, b"x", "image/png")


def test_a_full_disk_that_only_the_message_tells_of_is_recognised() -> None:
    body = answer("InternalError", "write /data: no space left on device")
    with faulty_store(500, body) as store, pytest.raises(InsufficientStorageError):
        store.put_latest(KEY, b"x")


def test_a_body_that_ends_early_is_passing_and_leaves_no_file(tmp_path: Path) -> None:
    with faulty_store(200, b"half", content_length=8) as store:
        with pytest.raises(TransientError, match=KEY):
            store.get(KEY)
        with pytest.raises(TransientError, match=KEY):
            store.download(KEY, tmp_path / "file", expected=None)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_away_is_passing() -> None:
    store = quick_store("http://127.0.0.1:9")
    with pytest.raises(TransientError, match=f"get of '{KEY}'.*S3_ENDPOINT"):
        store.get(KEY)


def test_a_server_that_never_answers_is_passing() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as silent:
        store = quick_store(f"http://127.0.0.1:{silent.server_address[1]}")
        with pytest.raises(TransientError, match=f"get of '{KEY}'"):
            store.get(KEY)


def test_a_name_that_no_bucket_can_have_is_told_before_anything_is_sent() -> None:
    store = quick_store("http://127.0.0.1:9")
    store.bucket = "no such/bucket"
    with pytest.raises(PermanentError, match="cannot be asked for"):
        store.get(KEY)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (OSError(28, "No space left on device"), InsufficientStorageError),
        (ConnectionResetError("reset"), TransientError),
        (TimeoutError("slow"), TransientError),
        (PermissionError(13, "Permission denied", "/data/x"), PermanentError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_faults_of_this_machine_become_our_errors(
    raised: OSError, kind: type[InfluencerAIError]
) -> None:
    with pytest.raises(kind, match=KEY), translated_errors("get", "assets", KEY):
        raise raised


def test_a_file_that_is_not_there_cannot_be_put(tmp_path: Path) -> None:
    store = quick_store("http://127.0.0.1:9")
    with pytest.raises(PermanentError, match=f"{KEY}.*absent"):
        store.put_new(KEY, tmp_path / "absent")


def test_a_server_that_knows_no_conditional_writes_is_asked_without(tmp_path: Path) -> None:
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # answers Expect: 100-continue at once
        stored: dict[str, bytes] = {}  # noqa: RUF012 - one handler class per test

        def do_HEAD(self) -> None:
            self.reply(200 if self.path in self.stored else 404)

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self.headers.get("If-None-Match"))
            if seen[-1]:
                self.reply(501)
            else:
                self.stored[self.path] = body
                self.reply(200)

        def reply(self, status: int) -> None:
            size = len(self.stored.get(self.path, b"")) if self.command == "HEAD" else 0
            self.send_response(status)
            self.send_header("ETag", '"e"')
            self.send_header("Last-Modified", "Mon, 23 Nov 2026 16:00:00 GMT")
            self.send_header("Content-Length", str(size))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        store = quick_store(f"http://127.0.0.1:{server.server_address[1]}")
        store._bucket_was_seen = True  # noqa: SLF001 - the server knows no HEAD of a bucket
        path = tmp_path / "file"
        path.write_bytes(b"pixels")
        assert store.put_new(KEY, path).size_bytes == 6
    finally:
        server.shutdown()
        server.server_close()
    assert seen == ["*", None]


@pytest.mark.parametrize("mode", ["when_required", "when_supported"])
def test_the_settings_reach_the_config(mode: str) -> None:
    config = s3_client_config(path_style=mode == "when_required", checksum_mode=mode)  # type: ignore[arg-type] # both values are allowed
    assert config.request_checksum_calculation == mode  # type: ignore[attr-defined] # boto3-stubs lacks it
    style = config.s3["addressing_style"]  # type: ignore[attr-defined] # as above
    assert style == ("path" if mode == "when_required" else "virtual")
