"""Proxies and certificates of the environment: respected outside, of no account on loopback."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from influencerai_dagster.backup.objects.locations import BackupTarget, Bucket
from influencerai_dagster.backup.objects.rclone import Rclone
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.http import AnswerLimits, HttpConnection
from influencerai_dagster.engines.comfyui.progress_socket import ProgressSocket
from influencerai_dagster.engines.openrouter.client import OpenRouterClient
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.http_clients import client_options, proxy_for, without_proxy_on_loopback
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.errors import translated_errors

PROXY = "http://proxy.corp:3128"
ELSEWHERE = "https://openrouter.ai/api/v1"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def no_network_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *map(str.lower, VARIABLES), *CERTIFICATES, "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_server_elsewhere_is_reached_by_the_proxy(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, PROXY)
    assert proxy_for(ELSEWHERE) == PROXY
    monkeypatch.setenv(name, "proxy.corp:3128")
    assert proxy_for(ELSEWHERE) == PROXY


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("*.corp", "http://s3.corp:9000"),
        ("10.0.0.5;10.0.0.6", "http://10.0.0.6"),
        ("10.0.0.5 10.0.0.6", "http://10.0.0.6"),
        ("s3.corp:443", "https://s3.corp"),
        ("s3.corp.", "http://s3.corp"),
        ("s3.corp", "http://s3.corp."),
        ("other", "http://x.localhost:3000"),
        ("other", "http://[::ffff:127.0.0.1]:3000"),
        ("", "http://127.0.0.1:3000"),
        ("", "http://127.8.9.10:3000"),
        ("", "http://localhost:3000"),
        ("", "http://[::1]:3000"),
        ("*", ELSEWHERE),
        ("minio,.corp", "http://minio:9000"),
        ("minio,.corp", "https://gpu1.corp"),
        ("10.0.0.0/8", "http://10.1.2.3:8188"),
        ("fd00:1234::/64", "http://[fd00:1234::5]:8188"),
        ("[fd00::5]", "http://[fd00::5]:8188"),
        ("gpu1:8188", "http://gpu1:8188"),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_what_no_proxy_names_is_reached_directly(
    monkeypatch: pytest.MonkeyPatch, name: str, no_proxy: str, url: str
) -> None:
    for scheme in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(scheme, PROXY)
    monkeypatch.setenv(name, no_proxy)
    assert proxy_for(url) is None
    assert proxy_for("http://elsewhere.example") == (None if no_proxy == "*" else PROXY)


@pytest.mark.parametrize(
    "variables",
    [
        {"ALL_PROXY": "socks://127.0.0.1:7890/"},
        {"ALL_PROXY": "socks5h://user:hunter2@127.0.0.1:1080"},
        {"all_proxy": "127.0.0.1:7890"},
        {"no_proxy": "fd00:1234::/64", "HTTP_PROXY": PROXY},
        {"NO_PROXY": "[::1]"},
        {"HTTPS_PROXY": "http://"},
        {"SSL_CERT_FILE": "/nowhere/ca.pem"},
    ],
    ids=str,
)
def test_no_variable_of_a_desktop_ends_a_client_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with (
        closing(DagsterGraphQL("http://127.0.0.1:9", "influencerai")) as dagster,
        pytest.raises(TransientError, match=r"127\.0\.0\.1:9"),
    ):
        dagster.location_problem()
    client = OpenRouterClient(api_key="k", base_url="http://localhost:9", retry_delays_seconds=())
    with pytest.raises(TransientError, match="localhost:9"):
        client.check()


@pytest.mark.parametrize(
    "proxy",
    [
        "socks://127.0.0.1:7890/",
        "socks5h://u:hunter2@h:1080",
        "http://u:hunter2@[::1",
        "http://u:hunter2@proxy:99999",
        "http://proxy:port",
    ],
)
def test_a_proxy_that_cannot_be_spoken_to_is_named_where_the_outside_is_called(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    client = OpenRouterClient(api_key="k", base_url=ELSEWHERE, retry_delays_seconds=())
    with pytest.raises(PermanentError, match=r"openrouter\.ai .*ALL_PROXY.*NO_PROXY") as caught:
        client.check()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "upper", "lower"),
    [
        ({}, "127.0.0.1,localhost,::1", "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": ".corp"}, ".corp,127.0.0.1,localhost,::1", ".corp,127.0.0.1,localhost,::1"),
        ({"no_proxy": ".corp"}, ".corp,127.0.0.1,localhost,::1", ".corp,127.0.0.1,localhost,::1"),
        (
            {"NO_PROXY": "a, localhost", "no_proxy": "fd00::/8"},
            "a,localhost,127.0.0.1,::1",
            "fd00::/8,127.0.0.1,localhost,::1",
        ),
        ({"NO_PROXY": "*"}, "*", "*"),
    ],
)
def test_processes_of_the_stack_keep_the_users_list(
    given: dict[str, str], upper: str, lower: str
) -> None:
    assert without_proxy_on_loopback(given) == {"NO_PROXY": upper, "no_proxy": lower}


@dataclass
class SecureServer:
    """An https server of an authority of its own, that remembers what it was asked for."""

    url: str
    ca_file: Path
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A private certificate authority, and the certificate and key of a server of it."""
    folder, now = tmp_path_factory.mktemp("authority"), datetime.now(UTC)
    ca_key, own_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a company's authority")])

    def certificate(
        name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> bytes:
        builder = x509.CertificateBuilder(ca_name, name, key.public_key()).serial_number(
            x509.random_serial_number()
        )
        builder = builder.not_valid_before(now - timedelta(days=1))
        builder = builder.not_valid_after(now + timedelta(days=1))
        signed = builder.add_extension(extension, critical=True).sign(ca_key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    ca_file, own_file = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(certificate(ca_name, ca_key, x509.BasicConstraints(ca=True, path_length=0)))
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    own_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
    key = own_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    own_file.write_bytes(key + certificate(own_name, own_key, x509.SubjectAlternativeName(names)))
    return ca_file, own_file


@contextmanager
def _https(authority: tuple[Path, Path]) -> Iterator[SecureServer]:
    ca_file, own_file = authority
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_file)
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps({"data": {"workspaceOrError": {"locationEntries": []}}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_POST = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield SecureServer(f"https://localhost:{server.server_address[1]}", ca_file, asked)
        server.shutdown()
        thread.join()


@pytest.fixture
def secure_server(authority: tuple[Path, Path]) -> Iterator[SecureServer]:
    with _https(authority) as server:
        yield server


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_private_authority_counts_for_every_server(
    monkeypatch: pytest.MonkeyPatch, secure_server: SecureServer, name: str
) -> None:
    monkeypatch.setenv(name, str(secure_server.ca_file))
    url = secure_server.url
    with httpx.Client(**client_options(url)) as client:
        assert client.get(url).status_code == httpx.codes.OK
    OpenRouterClient(api_key="k", base_url=url).check()
    with ComfyUIClient(url) as comfyui, pytest.raises(TransientError, match="not what ComfyUI"):
        comfyui.system_stats()
    with closing(DagsterGraphQL(url, "influencerai")) as dagster:
        assert "is not loaded" in (dagster.location_problem() or "")
    s3 = make_s3_client(
        endpoint_url=url,
        access_key="k",
        secret_key="s",  # noqa: S106 - of this test
        region="us-east-1",
        path_style=True,
        checksum_mode="when_required",
    )
    with translated_errors("head", "bucket", ""):
        s3.head_bucket(Bucket="bucket")
    assert len(secure_server.asked) == 5


def test_the_progress_socket_takes_the_private_authority_and_sends_the_token(
    monkeypatch: pytest.MonkeyPatch, secure_server: SecureServer
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(secure_server.ca_file))
    connection = _comfyui(f"{secure_server.url}/?token=abc")
    with pytest.raises(TransientError, match="HTTP 200") as caught:
        ProgressSocket(connection)  # it got through TLS to a server without sockets
    assert secure_server.asked[0].startswith("/ws?token=abc&clientId=")
    assert "abc" not in str(caught.value)


def test_a_token_in_the_url_is_sent_with_every_request_and_shown_in_no_text(
    monkeypatch: pytest.MonkeyPatch, secure_server: SecureServer
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(secure_server.ca_file))
    with ComfyUIClient(f"{secure_server.url}/?token=abc") as comfyui:
        with pytest.raises(TransientError, match="not what ComfyUI") as caught:
            comfyui.system_stats()
        assert comfyui.url == secure_server.url
    assert secure_server.asked == ["/system_stats?token=abc"]
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_rclone_takes_the_private_authority(
    monkeypatch: pytest.MonkeyPatch, secure_server: SecureServer, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv(name, str(secure_server.ca_file))
    bucket = Bucket("bucket", endpoint_url=secure_server.url, access_key="k", secret_key="s")  # noqa: S106 - of this test
    assert list(Rclone(bucket, BackupTarget(tmp_path)).list("source:")) == []
    assert secure_server.asked[0].startswith("/bucket?")


def test_without_its_authority_a_server_is_not_trusted(secure_server: SecureServer) -> None:
    with ComfyUIClient(secure_server.url) as comfyui, pytest.raises(TransientError, match="CERT"):
        comfyui.system_stats()


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "no PEM"])
def test_a_file_of_authorities_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(PermanentError, match=r"SSL_CERT_FILE=.*ca\.pem cannot be used"):
        client_options(ELSEWHERE)


def _comfyui(url: str) -> HttpConnection:
    return HttpConnection(url, timeout_seconds=5, limits=AnswerLimits(), transport=None)


def test_loopback_s3_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    s3 = make_s3_client(
        endpoint_url="http://127.0.0.1:9",
        access_key="k",
        secret_key="s",  # noqa: S106 - of this test
        region="us-east-1",
        path_style=True,
        checksum_mode="when_required",
    )
    config: Any = s3.meta.config
    assert config.proxies == {}
