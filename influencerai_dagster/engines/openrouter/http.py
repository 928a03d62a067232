"""Send one request to OpenRouter within limits of time and bytes; failures become our errors.

httpx limits each read alone, and a server that sends a byte now and then would hold a call for
ever. So a request runs in an event loop of its own, which has a deadline for all of it.
"""

import asyncio
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from influencerai_dagster.engines.openrouter.failures import MaybePaidError
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.http_clients import client_options

MAX_ANSWER_BYTES = 8 * 1024**2
_CONNECT_SECONDS = 20.0
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.WriteError)
_BAD_URL = (httpx.InvalidURL, httpx.UnsupportedProtocol)


@dataclass(frozen=True)
class HttpAnswer:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    text: str


class OpenRouterConnection:
    """Sends requests with our key; safe between threads. No error text has the key."""

    def __init__(
        self,
        api_key: str,
        base_url: str,
        timeout_seconds: float,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """Make the connection; nothing is sent yet.

        Raises:
            PermanentError: the key cannot be one; the text names the setting.
        """
        self.url = base_url.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {checked_key(api_key)}",
            "X-Title": "InfluencerAI",
            "Accept-Encoding": "identity",  # a few bytes cannot become gigabytes
        }
        self._timeout_seconds = timeout_seconds
        self._max_answer_bytes = max_answer_bytes

    def send(self, method: str, path: str, *, what: str, json: object = None) -> HttpAnswer:
        """Send a request and return its answer, whatever its status is.

        Raises:
            TransientError: OpenRouter is not reached; nothing was sent.
            MaybePaidError: it was sent, and its answer is lost, late or too large.
            PermanentError: OPENROUTER_BASE_URL, or the proxy or the certificates that the
                environment names, cannot be used.
        """
        try:
            return asyncio.run(self._exchange(method, f"{self.url}{path}", json))
        except _BAD_URL as error:
            raise PermanentError(f"OPENROUTER_BASE_URL cannot be used: {error}") from error
        except TimeoutError as error:
            raise MaybePaidError(
                f"{what} did not answer in time at {self.url} ({self._timeout_seconds:g} s); it "
                "may be billed all the same"
            ) from error
        except _NOT_SENT as error:
            raise TransientError(f"{what} cannot be reached at {self.url}: {error}") from error
        except httpx.HTTPError as error:
            raise MaybePaidError(
                f"{what} was asked at {self.url}, but its answer is lost: {error}; it may be "
                "billed all the same"
            ) from error

    async def _exchange(self, method: str, url: str, json: object) -> HttpAnswer:
        connect_seconds = min(_CONNECT_SECONDS, self._timeout_seconds / 2)
        async with (
            asyncio.timeout(self._timeout_seconds),
            httpx.AsyncClient(
                headers=self._headers,
                timeout=httpx.Timeout(None, connect=connect_seconds),
                **client_options(self.url),
            ) as client,
            client.stream(method, url, json=json) as response,
        ):
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._max_answer_bytes:
                    raise httpx.DecodingError(f"it is larger than {self._max_answer_bytes} bytes")
            text = body.decode("utf-8", errors="replace")
            return HttpAnswer(response.status_code, response.headers, text)


def checked_key(api_key: str) -> str:
    """Return the key without blanks around it.

    Raises:
        PermanentError: there is none, or it has a character that no key has, which alone is shown.
    """
    key = api_key.strip()
    if not key:
        raise PermanentError("OPENROUTER_API_KEY is not set: OpenRouter cannot be asked")
    for index, character in enumerate(key, start=1):
        if not "!" <= character <= "~":
            name = unicodedata.name(character, "a control character")
            raise PermanentError(
                f"OPENROUTER_API_KEY is not a key: its character {index} of {len(key)} is "
                f"U+{ord(character):04X} ({name}). Copy the whole key from "
                "openrouter.ai/settings/keys"
            )
    return key
