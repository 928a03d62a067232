"""Which settings of the web server go together."""

from typing import Any

import pytest

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.settings import Settings, load_settings
from influencerai_dagster.webserver.authentication import BasicAuth, ForwardAuth, authenticators

USER, PASSWORD = "ann", "canary-password"
ANN = {"user": USER, "password": PASSWORD}


def settings(**own: Any) -> Settings:
    prefixed = {f"dagster_webserver_{name}": value for name, value in own.items()}
    return load_settings((), **prefixed)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_this_machine_alone_nobody_is_asked(host: str) -> None:
    assert authenticators(settings(host=host)) == ()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "gpu1.lan"])  # noqa: S104 - refused
def test_where_others_can_come_in_somebody_must_ask_them(host: str) -> None:
    with pytest.raises(PermanentError, match=r"DAGSTER_WEBSERVER_PASSWORD.*docs/security.md"):
        authenticators(settings(host=host))
    assert authenticators(settings(host=host, **ANN)) == (BasicAuth(USER, PASSWORD),)
    assert authenticators(settings(host=host, allow_anonymous=True)) == ()


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"user": "ann"}, "DAGSTER_WEBSERVER_USER and DAGSTER_WEBSERVER_PASSWORD belong together"),
        ({"password": "p"}, "DAGSTER_WEBSERVER_USER and DAGSTER_WEBSERVER_PASSWORD"),
        ({"user": "ann", "password": ""}, "DAGSTER_WEBSERVER_USER and DAGSTER_WEBSERVER_PASSWORD"),
        ({"auth_header": "X-User"}, "DAGSTER_WEBSERVER_AUTH_HEADER and DAGSTER_WEBSERVER_PROXIES"),
        ({"proxies": "10.0.0.1"}, "DAGSTER_WEBSERVER_AUTH_HEADER and DAGSTER_WEBSERVER_PROXIES"),
    ],
)
@pytest.mark.parametrize("is_anonymous_allowed", [True, False])
def test_half_of_a_way_is_refused(
    own: dict[str, str],
    says: str,
    is_anonymous_allowed: bool,  # noqa: FBT001 - parametrized
) -> None:
    with pytest.raises(PermanentError, match=says):
        authenticators(settings(**own, allow_anonymous=is_anonymous_allowed))


def test_a_proxy_has_addresses_and_a_header() -> None:
    (found,) = authenticators(settings(auth_header="X-User", proxies="10.0.0.1, fd00::/8"))
    assert isinstance(found, ForwardAuth)
    assert found.header == "x-user"
    assert [str(network) for network in found.proxies] == ["10.0.0.1/32", "fd00::/8"]


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"proxies": "gpu1.lan"}, "use an address or a network"),
        ({"proxies": "10.0.0.1/8"}, "has host bits set"),
        ({"allowed_hosts": "https://gpu1.lan"}, "is not a host name"),
        ({"allowed_hosts": "*.lan"}, "is not a host name"),
        ({"user": "an:n"}, "DAGSTER_WEBSERVER_USER"),
        ({"auth_header": "X User"}, "DAGSTER_WEBSERVER_AUTH_HEADER"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(own: dict[str, str], says: str) -> None:
    with pytest.raises(PermanentError, match=says):
        settings(**own)


def test_the_password_is_in_no_text() -> None:
    own = settings(**ANN)
    assert "canary" not in f"{own!r} {authenticators(own)!r}"
    assert own.dagster.credentials == (USER, PASSWORD)
    with pytest.raises(PermanentError) as caught:
        settings(user="an:n", password=[PASSWORD])
    assert "canary" not in str(caught.value)
