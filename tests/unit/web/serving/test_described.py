"""The server does what its OpenAPI description says, whatever is sent to it (schemathesis makes it up)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from ringlight.services.api_keys import add_key
from ringlight.web.serving.app import create_app
from ringlight.web.serving.auth import Doorkeeper
from ringlight.web.serving.settings import Settings
from served_models import FakeModels, predictor_of


@contextlib.asynccontextmanager
async def no_lifespan(app: Any) -> AsyncIterator[None]:
    """Schemathesis starts and ends the app with every request; the models stay for all of them."""
    yield


APP = create_app(Settings(models=(), poll=3600.0), FakeModels(grey=predictor_of()), watch_of=lambda _: None)
APP.router.lifespan_context = no_lifespan
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the models, and ask for this key."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    made = add_key("fuzzer", file)
    house = APP.state.house
    house.doorkeeper = Doorkeeper(file, None)
    house.start()
    yield made
    house.close()


@pytest.mark.slow(minutes=0.3)
@pytest.mark.filterwarnings("ignore:Skipped test cases with unsupported payload")  # it cannot write .npy
@SCHEMA.parametrize()
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_answers_as_described(case: Any, key: str) -> None:
    if "name" in case.path_parameters:
        case.path_parameters["name"] = "grey"
    headers = {"Authorization": f"Bearer {key}"}
    answer = case.call(headers=headers)
    assert answer.status_code < 500
    # What has the form of base64 or of a picture need not be one: that it is refused is no fault.
    case.validate_response(answer, headers=headers, excluded_checks=[positive_data_acceptance])
