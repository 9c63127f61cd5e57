"""Apps on served models that cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from ringlight.data.preprocess import InputSpec
from ringlight.web.serving.app import create_app
from ringlight.web.serving.settings import Settings
from served_models import WINDOWS, FakeModels, predictor_of


def unwatched(served: Any) -> None:
    """No watch."""


MakeClient = Callable[..., TestClient]


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    """Start an app with settings of its own; it ends with the test."""
    open_clients: list[TestClient] = []

    def make(models: FakeModels | None = None, *, watch_of: Any = unwatched, **options: Any) -> TestClient:
        options = {"models": (), "poll": 3600.0, **options}
        made = create_app(Settings(**options), models or FakeModels(grey=predictor_of()), watch_of=watch_of)
        client = TestClient(made, raise_server_exceptions=False)
        client.__enter__()
        open_clients.append(client)
        return client

    yield make
    for client in open_clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """One app for all tests of a file that only ask: `grey` takes images, `free` of any size, `signal` windows."""
    models = FakeModels(
        grey=predictor_of(reject_threshold=0.6),
        free=predictor_of(InputSpec(in_chans=1, image_size=None, mean=(0.0,), std=(1.0,))),
        signal=predictor_of(WINDOWS),
    )
    settings = Settings(models=(), poll=3600.0, max_bytes=100_000, max_pixels=10_000)
    with TestClient(create_app(settings, models, watch_of=unwatched), raise_server_exceptions=False) as client:
        yield client
