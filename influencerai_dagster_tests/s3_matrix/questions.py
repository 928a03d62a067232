"""The questions of the matrix; each answer is a cell of its table."""

import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from influencerai_dagster.errors import InfluencerAIError, PermanentError
from influencerai_dagster.storage.abilities import ask_abilities, other_address_style
from influencerai_dagster.storage.access import access_problems
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.errors import error_code, status_code
from influencerai_dagster.storage.multipart import abort_upload, incomplete_uploads
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.storage.uploads import MULTIPART_THRESHOLD_BYTES, upload
from influencerai_dagster_tests.testing.servers import S3Server

WRITERS = 8
NFC, NFD = "n/\u00e9.jpg", "n/e\u0301.jpg"
ODD_NAMES = (
    "a b",
    "+",
    "%2F",
    "\U0001f600",
    "#?&;*|:",
    "\t",
    "\n",
    "\x01",
    '"',
    "'",
    "\\",
    "\u240a",
)


@dataclass(frozen=True)
class Asked:
    """A running server, a bucket of its own for each question, and a folder."""

    server: S3Server
    store: ObjectStore
    folder: Path

    def client_of(self, **changes: object) -> ObjectStore:
        options: dict[str, object] = {
            "endpoint_url": self.server.endpoint_url,
            "access_key": self.server.access_key,
            "secret_key": self.server.secret_key,
            "region": "us-east-1",
            "path_style": True,
            "checksum_mode": "when_required",
        }
        client = make_s3_client(**{**options, **changes})  # type: ignore[arg-type] # a table of options
        return ObjectStore(client, self.store.bucket)


def access(asked: Asked) -> str:
    return "; ".join(access_problems(asked.store)) or "ok"


def second_put(asked: Asked) -> str:
    asked.store.put_latest("k", b"1")
    return _refusal(
        lambda: asked.store.client.put_object(
            Bucket=asked.store.bucket, Key="k", Body=b"2", IfNoneMatch="*"
        )
    )


def second_multipart(asked: Asked) -> str:
    path = asked.folder / f"big-{uuid4().hex}"
    path.write_bytes(b"x" * (MULTIPART_THRESHOLD_BYTES + 1))
    asked.store.put_latest("k", b"1")
    try:
        upload(asked.store.client, asked.store.bucket, "k", path, "image/png")
    except Exception as error:  # noqa: BLE001 - any refusal is the answer
        cause = error.__cause__
        return str(status_code(cause)) if isinstance(cause, ClientError) else _short(error)
    finally:
        path.unlink()
    return "**ignored**"


def racing_writers(asked: Asked) -> str:
    barrier, winners = threading.Barrier(WRITERS), list[int]()

    def write(number: int) -> None:
        barrier.wait(timeout=30)
        with suppress(InfluencerAIError):
            asked.store.put_new("k", f"content {number}".encode())
            winners.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "one winner" if len(winners) == 1 else f"**{len(winners)} winners**"


def checksums(asked: Asked) -> str:
    client, bucket = asked.store.client, asked.store.bucket
    client.put_object(Bucket=bucket, Key="k", Body=b"data", ChecksumAlgorithm="CRC32")
    found = client.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    return "yes" if "ChecksumCRC32" in found else "no"


def wrong_checksum(asked: Asked) -> str:
    return _refusal(
        lambda: asked.store.client.put_object(
            Bucket=asked.store.bucket, Key="k", Body=b"data", ChecksumCRC32="AAAAAA=="
        ),
        ignored="accepted",
    )


def checksum_mode(asked: Asked) -> str:
    store = asked.client_of(checksum_mode="when_supported")
    return "ok" if store.read(store.put_new("k", b"data")) == b"data" else "other bytes"


def etag(asked: Asked) -> str:
    return "MD5" if ask_abilities(asked.store).etag_is_md5 else "other"


def compositions(asked: Asked) -> str:
    asked.store.put_new(NFC, b"1")
    if asked.store.head(NFD) is not None:
        return "**one object**"
    asked.store.put_new(NFD, b"2")
    asked.store.delete(NFD)
    return "two" if asked.store.get(NFC) == b"1" else "**deleting one deletes both**"


def odd_names(asked: Asked) -> str:
    wrong = []
    for number, name in enumerate(ODD_NAMES):
        key = f"odd/{number}/x{name}y"
        try:
            asked.store.put_latest(key, b"1")
            listed = [info.key for info in asked.store.list(f"odd/{number}/")]
            if listed != [key] or asked.store.get(key) != b"1":
                wrong.append(f"{_named(name)} listed as {ascii(listed)[1:-1]}")
        except InfluencerAIError as error:
            wrong.append(f"{_named(name)}: {_short(error)}")
    return "; ".join(wrong) or "ok"


def empty_part(asked: Asked) -> str:
    return _kept_as(asked, "d//x")


def leading_slash(asked: Asked) -> str:
    return _kept_as(asked, "/lead")


def long_name(asked: Asked) -> str:
    return _kept_as(asked, f"d/{'n' * 300}").replace("n" * 300, "itself")


def folder_beside_object(asked: Asked) -> str:
    asked.store.put_latest("a", b"1")
    try:
        asked.store.put_latest("a/b", b"2")
    except InfluencerAIError as error:
        return _short(error)
    listed = {info.key for info in asked.store.list("")}
    return "both kept" if listed == {"a", "a/b"} else f"**lists only {', '.join(sorted(listed))}**"


def folder_mark(asked: Asked) -> str:
    asked.store.client.put_object(Bucket=asked.store.bucket, Key="dir/", Body=b"")
    listed = [info.key for info in asked.store.list("dir/")]
    asked.store.put_latest("dir/x", b"1")
    return "listed" if listed == ["dir/"] else "not listed"


def order(asked: Asked) -> str:
    keys = ["a-b", "a/b", "a0", "\uffee", "\U0001f600"]
    for key in keys:
        asked.store.put_latest(key, b"1")
    listed = [info.key for info in asked.store.list("")]
    return "UTF-8" if listed == sorted(keys, key=str.encode) else "another"


def unfinished_uploads(asked: Asked) -> str:
    asked.store.client.create_multipart_upload(Bucket=asked.store.bucket, Key="k")
    found = incomplete_uploads(asked.store)
    for item in found:
        abort_upload(asked.store, item)
    return "seen and ended" if found and not incomplete_uploads(asked.store) else "not seen"


def missing_bucket(asked: Asked) -> str:
    store = ObjectStore(asked.store.client, f"none-{uuid4().hex[:8]}")
    try:
        store.put_latest("k", b"1")
    except PermanentError as error:
        return "named" if "S3_BUCKET" in str(error) else _short(error)
    return "PUT creates it"


def wrong_secret(asked: Asked) -> str:
    return _denied(asked.client_of(secret_key="wrong"))  # noqa: S106 - no secret


def wrong_key(asked: Asked) -> str:
    return _denied(asked.client_of(access_key="nobody"))


def links(asked: Asked) -> str:
    asked.store.put_latest("k", b"pixels")
    url = asked.store.presign_get("k", expires_seconds=60)
    forged = url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")
    part = httpx.get(url, headers={"Range": "bytes=1-2"})
    return f"{httpx.get(url).status_code}, {httpx.get(forged).status_code}, {part.status_code}"


def host_style(asked: Asked) -> str:
    # By an address that is not a number: for numbers botocore uses the path.
    local = asked.server.endpoint_url.replace("127.0.0.1", "localhost")
    other = asked.client_of(endpoint_url=local, path_style=False)
    said = other_address_style(asked.store, other, is_path_style=True)
    return "no" if "only" in said else "yes"


QUESTIONS: Mapping[str, Callable[[Asked], str]] = {
    "`doctor`'s access check": access,
    "If-None-Match on a PUT": second_put,
    "If-None-Match on a multipart upload": second_multipart,
    "8 racing writers of one key": racing_writers,
    "CRC32 kept and told": checksums,
    "wrong CRC32": wrong_checksum,
    "S3_CHECKSUM_MODE=when_supported": checksum_mode,
    "ETag of a single PUT": etag,
    "keys that differ in Unicode composition": compositions,
    "odd characters in keys": odd_names,
    "key `d//x`": empty_part,
    "key `/lead`": leading_slash,
    "name of 300 bytes": long_name,
    "`a/b` beside an object `a`": folder_beside_object,
    "mark of an empty folder": folder_mark,
    "order of listings": order,
    "unfinished uploads": unfinished_uploads,
    "missing bucket": missing_bucket,
    "wrong secret": wrong_secret,
    "wrong access key": wrong_key,
    "link: right, forged, range": links,
    "bucket in the host name": host_style,
}


def answers(server: S3Server, folder: Path) -> dict[str, str]:
    """Ask a server everything, each question in a bucket of its own."""
    found = {}
    for question, ask in QUESTIONS.items():
        try:
            found[question] = ask(Asked(server, server.store(), folder))
        except (InfluencerAIError, ClientError, BotoCoreError, httpx.HTTPError) as error:
            found[question] = _short(error)
    return found


def _refusal(write: Callable[[], object], ignored: str = "**ignored**") -> str:
    try:
        write()
    except ClientError as error:
        return str(status_code(error))
    return ignored


def _kept_as(asked: Asked, key: str) -> str:
    try:
        asked.store.put_latest(key, b"1")
    except InfluencerAIError as error:
        return _short(error)
    listed = [info.key for info in asked.store.list("")]
    return "ok" if listed == [key] else f"kept as `{', '.join(listed)}`"


def _denied(store: ObjectStore) -> str:
    try:
        store.head("k")
    except PermanentError as error:
        return "named" if "S3_SECRET" in str(error) else _short(error)
    return "not checked"


def _short(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, ClientError) else error
    if isinstance(cause, ClientError):
        code = error_code(cause)
        status = str(status_code(cause))
        return status if code == status else f"{status} {code}"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(cause).__name__).lower()


def _named(name: str) -> str:
    return ascii(name)[1:-1] if not name.isprintable() else f"`{name}`"
