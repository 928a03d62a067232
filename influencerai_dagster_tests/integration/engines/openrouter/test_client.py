from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from influencerai_dagster.engines.openrouter.client import OpenRouterClient
from influencerai_dagster.engines.openrouter.failures import (
    MaybePaidError,
    RateLimitedError,
    refusal,
)
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster_tests.testing.openrouter_server import MODEL, Simulator
from influencerai_dagster_tests.testing.ports import free_port

HELLO = [{"role": "user", "content": "Say hello."}]


def ask(client: OpenRouterClient, **options: Any) -> Any:
    return client.complete(HELLO, **{"model": MODEL, "max_tokens": 50, **options})


def test_an_answer_has_its_text_and_what_it_cost(client: OpenRouterClient) -> None:
    completion = ask(client)
    assert completion.text.startswith("SIMULATED")
    assert completion.model == MODEL
    assert completion.finish_reason == "stop"
    tokens = completion.prompt_tokens + completion.completion_tokens
    assert completion.cost_usd == pytest.approx(tokens * 1e-6)


def test_a_cut_answer_says_so(client: OpenRouterClient) -> None:
    assert ask(client, max_tokens=1).finish_reason == "length"


def test_the_same_question_has_the_same_answer(client: OpenRouterClient) -> None:
    assert ask(client).text == ask(client).text


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        pytest.param(400, PermanentError, "malformed", id="bad request"),
        pytest.param(401, PermanentError, "OPENROUTER_API_KEY", id="wrong key"),
        pytest.param(402, PermanentError, "no credits", id="no credits"),
        pytest.param(403, PermanentError, "its budget is spent", id="forbidden"),
        pytest.param(408, MaybePaidError, "408", id="timeout"),
        pytest.param(429, RateLimitedError, "429", id="rate limit"),
        pytest.param(502, TransientError, "502", id="model down"),
        pytest.param(503, TransientError, "503", id="no provider"),
    ],
)
@pytest.mark.parametrize("is_late_error", [False, True], ids=["in the status", "in the body"])
def test_a_failure_has_its_class_and_says_what_to_do(
    client: OpenRouterClient,
    simulator: Simulator,
    *,
    status: int,
    error: type[Exception],
    text: str,
    is_late_error: bool,
) -> None:
    simulator.set_faults(status=status, count=9, is_late_error=is_late_error)
    with pytest.raises(error, match=text) as caught:
        ask(client)
    assert type(caught.value) is error
    assert "sk-test" not in str(caught.value)


def test_a_passing_failure_is_tried_again(client: OpenRouterClient, simulator: Simulator) -> None:
    simulator.set_faults(status=502, count=2)
    assert ask(client).text
    assert simulator.waits == [1.0, 4.0]


def test_a_rate_limit_is_waited_for_as_long_as_it_asks(
    client: OpenRouterClient, simulator: Simulator
) -> None:
    simulator.set_faults(status=429, count=1, retry_after_seconds=17)
    assert ask(client).text
    assert simulator.waits == [17.0]


def test_a_rate_limit_of_an_hour_is_left_to_the_caller(
    client: OpenRouterClient, simulator: Simulator
) -> None:
    simulator.set_faults(status=429, count=1, retry_after_seconds=3600)
    with pytest.raises(RateLimitedError, match="asks to wait 3600 s") as caught:
        ask(client)
    assert caught.value.retry_after_seconds == 3600
    assert simulator.waits == []


def test_a_permanent_failure_is_asked_once(client: OpenRouterClient, simulator: Simulator) -> None:
    before = len(simulator.calls())
    simulator.set_faults(status=402, count=9)
    with pytest.raises(PermanentError):
        ask(client)
    assert len(simulator.calls()) == before + 1


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        pytest.param("is_malformed", "other than a completion: <html>", id="no JSON"),
        pytest.param("is_empty", "without any text", id="no text"),
    ],
)
def test_an_answer_that_is_none_is_a_passing_failure(
    client: OpenRouterClient, simulator: Simulator, fault: str, text: str
) -> None:
    simulator.set_faults(**{fault: True}, count=9)
    with pytest.raises(TransientError, match=text):
        ask(client)


def test_a_slow_answer_is_a_passing_failure(simulator: Simulator) -> None:
    simulator.set_faults(delay_seconds=30)
    client = simulator.client(timeout_seconds=0.1)
    with pytest.raises(TransientError, match="did not answer in time"):
        ask(client)


def test_a_server_that_is_away_is_a_passing_failure() -> None:
    url = f"http://127.0.0.1:{free_port()}/api/v1"
    client = OpenRouterClient(api_key="sk", base_url=url, retry_delays_seconds=())
    with pytest.raises(TransientError, match="cannot be reached at"):
        ask(client)


@pytest.mark.parametrize("url", ["openrouter.ai/api/v1", "ftp://openrouter.ai"])
def test_a_base_url_that_is_none_is_named(url: str) -> None:
    client = OpenRouterClient(api_key="sk", base_url=url)
    with pytest.raises(PermanentError, match="OPENROUTER_BASE_URL"):
        ask(client)


def test_an_unknown_model_is_named(client: OpenRouterClient) -> None:
    with pytest.raises(PermanentError, match="no/such is not a valid model ID"):
        ask(client, model="no/such")


def test_no_key_is_an_error_before_anything_is_sent() -> None:
    with pytest.raises(PermanentError, match="OPENROUTER_API_KEY is not set"):
        OpenRouterClient(api_key="")


def test_the_key_can_be_checked(client: OpenRouterClient, simulator: Simulator) -> None:
    client.check()
    simulator.set_faults(api_key="another")
    with pytest.raises(PermanentError, match="User not found"):
        client.check()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("30", 30.0), ("", None), ("soon", None), (format_datetime(datetime.now(UTC)), 0.0)],
    ids=["seconds", "nothing", "no date", "a date that has passed"],
)
def test_retry_after_is_read_in_all_its_forms(value: str, expected: float | None) -> None:
    error = refusal(429, {"Retry-After": value}, "wait", what="it")
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_seconds == expected


def test_retry_after_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    error = refusal(429, {"Retry-After": date}, "", what="it")
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_seconds == pytest.approx(40, abs=5)
