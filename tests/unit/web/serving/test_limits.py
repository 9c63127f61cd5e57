"""Requests a second of each client, and bytes of all of them."""

from __future__ import annotations

import pytest

from ringlight.web.serving import limits
from ringlight.web.serving.limits import Memory, RateLimit
from ringlight.web.serving.problems import RequestError


def test_tokens_come_back_with_time_and_each_client_has_its_own() -> None:
    now = 0.0
    limit = RateLimit(2.0, clock=lambda: now)
    assert [limit.wait_for("a") for _ in range(5)] == [0.0] * 4 + [0.5]
    assert limit.wait_for("b") == 0.0
    now = 0.5
    assert [limit.wait_for("a") for _ in range(2)] == [0.0, 0.5]
    now = 1000.0
    assert [limit.wait_for("a") for _ in range(5)] == [0.0] * 4 + [0.5]
    with pytest.raises(RequestError, match="a: expected at most 2 requests a second, got more") as caught:
        limit.require("a")
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "1"})


def test_a_slow_rate_still_lets_the_first_request_in() -> None:
    limit = RateLimit(0.1, clock=lambda: 0.0)
    assert [limit.wait_for("a") for _ in range(2)] == [0.0, 10.0]


def test_clients_that_are_long_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CLIENTS", 2)
    limit = RateLimit(1.0, clock=lambda: 0.0)
    for client in "abc":
        limit.wait_for(client)
    assert list(limit._buckets) == ["b", "c"]


def test_memory_is_given_back_also_after_a_fault() -> None:
    memory = Memory(10)
    with memory.hold() as one:
        one.grow(6)
        with memory.hold() as two:
            two.grow(4)
            assert memory.held == 10
        with pytest.raises(RequestError, match="at most 10 bytes of requests at a time, got 11") as caught:
            one.grow(5)
    assert (caught.value.status, caught.value.headers["Connection"]) == (503, "close")
    assert memory.held == 0
