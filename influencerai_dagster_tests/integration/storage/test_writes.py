"""How many requests a write takes, and that it stays safe with the fewest, on real servers."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.retry import retry_transient
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.lying_s3 import Request, Rule, proxied
from influencerai_dagster_tests.testing.servers import S3Server

HEAD, PUT = "HeadObject", "PutObject"
REFUSES_SECOND_WRITER = {"rclone": False, "minio": True}
each_key = pytest.mark.parametrize("is_own_key", [True, False], ids=["own key", "shared key"])


@pytest.fixture
def refuses(any_s3: S3Server) -> bool:
    """Whether the server refuses the second writer of a key."""
    if any_s3.name not in REFUSES_SECOND_WRITER:
        pytest.skip(f"{any_s3.name} may do either")
    return REFUSES_SECOND_WRITER[any_s3.name]


@contextmanager
def requests(store: ObjectStore) -> Iterator[list[str]]:
    """Collect the names of the requests that the block sends, but for the look at the bucket."""
    sent: list[str] = []
    events, event = store.client.meta.events, "before-call.s3"

    def note(model: Any, **_: object) -> None:
        if model.name != "ListObjectsV2":
            sent.append(model.name)

    events.register(event, note)
    try:
        yield sent
    finally:
        events.unregister(event, note)


def new_key() -> str:
    return f"images/acme/{uuid4()}/output.png"


def put(store: ObjectStore, data: bytes = b"pixels", key: str | None = None) -> list[str]:
    with requests(store) as sent:
        store.put_new(key or new_key(), data)
    return sent


def once(change: Callable[[Request], httpx.Response | None]) -> Rule:
    """Answer the first PUT by `change`, and everything else as the server does."""
    changed: list[str] = []

    def rule(request: Request) -> httpx.Response | None:
        if request.method == "PUT" and request.key.count("/") > 1 and not changed:
            changed.append(request.key)
            return change(request)
        return request.send()

    return rule


def with_headers(answer: httpx.Response, headers: Mapping[str, str]) -> httpx.Response:
    return httpx.Response(answer.status_code, headers={**answer.headers, **headers})


def test_a_key_of_the_writers_own_takes_one_request(store: ObjectStore) -> None:
    with requests(store) as sent:
        store.put_new(new_key(), b"pixels", skip_exists_check=True)
    assert sent == [PUT]


def test_a_server_that_refuses_second_writers_is_noticed_and_then_takes_one_request(
    store: ObjectStore,
    refuses: bool,  # noqa: FBT001
) -> None:
    assert put(store) == ([HEAD, PUT, PUT] if refuses else [HEAD, PUT, PUT, HEAD])
    assert put(store) == ([PUT] if refuses else [HEAD, PUT, HEAD])


def test_nothing_is_sent_twice_that_is_not_small(store: ObjectStore) -> None:
    assert put(store, b"x" * 100_000) == [HEAD, PUT, HEAD]


def test_other_content_never_replaces_an_object_once_the_server_is_known(
    store: ObjectStore,
) -> None:
    put(store)
    key = new_key()
    put(store, b"pixels", key)
    with pytest.raises(PermanentError, match=f"{key}.*written once.*other content.*6 bytes"):
        store.put_new(key, b"PIXELS")
    assert store.get(key) == b"pixels"
    assert store.put_new(key, b"pixels").size_bytes == 6


def test_one_of_two_racing_writers_wins_once_the_server_is_known(
    store: ObjectStore,
    refuses: bool,  # noqa: FBT001
) -> None:
    if not refuses:
        pytest.skip("the later writer wins")
    put(store)
    for _ in range(20):
        key, barrier = new_key(), threading.Barrier(2)

        def write(data: bytes, key: str = key, barrier: threading.Barrier = barrier) -> bytes:
            barrier.wait(timeout=10)
            try:
                store.put_new(key, data)
            except PermanentError:
                return b""
            return data

        assert b"".join(store.map(write, [b"one", b"two"])) == store.get(key)


@each_key
def test_a_write_whose_answer_was_lost_meets_its_own_object(
    any_s3: S3Server,
    is_own_key: bool,  # noqa: FBT001
) -> None:
    def lose(request: Request) -> None:
        assert request.send().is_success

    with proxied(any_s3, once(lose)) as server:
        store, key = server.store(), new_key()
        stored = store.put_new(key, b"pixels", skip_exists_check=is_own_key)
        assert store.read(stored) == b"pixels"


@each_key
def test_a_conflict_with_another_request_is_passing(
    any_s3: S3Server,
    is_own_key: bool,  # noqa: FBT001
) -> None:
    code = "<Error><Code>ConditionalRequestConflict</Code></Error>"
    with proxied(any_s3, once(lambda _: httpx.Response(409, text=code))) as server:
        store, key = server.store(), new_key()
        with pytest.raises(TransientError, match="ConditionalRequestConflict"):
            store.put_new(key, b"pixels", skip_exists_check=is_own_key)
        stored = retry_transient(lambda: store.put_new(key, b"pixels"))
        assert store.read(stored) == b"pixels"


@pytest.mark.parametrize(
    "headers",
    [{"ETag": '"00000000000000000000000000000000"'}, {"ETag": '"encrypted-1"'}],
    ids=["another MD5", "no MD5"],
)
@each_key
def test_an_answer_that_does_not_name_the_content_makes_the_store_look(
    any_s3: S3Server,
    headers: Mapping[str, str],
    is_own_key: bool,  # noqa: FBT001
) -> None:
    rule = once(lambda request: with_headers(request.send(), headers))
    with proxied(any_s3, rule) as server:
        store, key = server.store(), new_key()
        with requests(store) as sent:
            stored = store.put_new(key, b"pixels", skip_exists_check=is_own_key)
        assert sent[-2:] == [HEAD, "GetObject"]
        assert store.read(stored) == b"pixels"


@each_key
def test_an_object_that_another_content_replaced_on_the_way_is_refused(
    any_s3: S3Server,
    is_own_key: bool,  # noqa: FBT001
) -> None:
    direct, key = any_s3.store(), new_key()

    def replace(request: Request) -> httpx.Response:
        request.send()
        other = direct.client.put_object(Bucket=direct.bucket, Key=key, Body=b"PIXELS")
        return httpx.Response(200, headers={"ETag": other["ETag"]})

    with proxied(any_s3, once(replace)) as server:
        store = server.store(direct.bucket)
        with pytest.raises(PermanentError, match="other content"):
            store.put_new(key, b"pixels", skip_exists_check=is_own_key)
