"""Keys let in, their absence keeps out; guessing is slowed down; a key that was taken back opens nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ringlight.errors import UserError
from ringlight.services.api_keys import add_key, remove_key
from ringlight.web.serving.auth import Doorkeeper
from served_models import picture

PREDICT = "/v1/models/grey/predict"


def test_without_a_key_only_health_is_told(make_client, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key("line-2", file)
    client = make_client(keys=file)
    for path in ("/v1/models", "/metrics"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "Authorization: expected an API key, got none" in answer.json()["detail"]
    assert client.post(PREDICT, content=picture()).status_code == 401
    wrong = client.get("/v1/models", headers={"authorization": f"Bearer {key}x"})
    assert (wrong.status_code, key in wrong.text) == (401, False)
    assert client.get("/v1/models", headers={"x-api-key": "schlüssel".encode("latin-1")}).status_code == 401
    for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
        assert client.get("/v1/models", headers=headers).status_code == 200
        assert client.post(PREDICT, content=picture(), headers=headers).status_code == 200
    assert [client.get(path).status_code for path in ("/healthz", "/readyz", "/openapi.json")] == [200] * 3


def test_the_log_names_the_client_and_never_the_key(make_client, tmp_path: Path, caplog) -> None:
    file = tmp_path / "keys.json"
    key = add_key("line-2", file)
    client = make_client(keys=file)
    with caplog.at_level(logging.INFO, "ringlight"):
        client.post(PREDICT, content=picture(), headers={"x-api-key": key})
    (record,) = [one for one in caplog.records if one.getMessage() == "request"]
    fields = record.fields
    assert {name: fields[name] for name in ("client", "model", "status", "items", "path")} == {
        "client": "line-2", "model": "grey", "status": 200, "items": 1, "path": PREDICT,
    }  # fmt: skip
    assert key not in str([vars(one) for one in caplog.records])


def test_keys_are_read_anew_while_the_server_runs(tmp_path: Path, caplog) -> None:
    file = tmp_path / "keys.json"
    key = add_key("line-2", file)
    doorkeeper = Doorkeeper(file, None)
    assert doorkeeper.admit(key, "host") == "line-2"
    other = add_key("line-3", file)
    doorkeeper.look_again()
    assert doorkeeper.admit(other, "host") == "line-3"
    remove_key("line-2", file)
    doorkeeper.look_again()
    with pytest.raises(UserError, match="expected an API key, got a wrong one"):
        doorkeeper.admit(key, "host")
    file.write_text("{", encoding="utf-8")
    doorkeeper.look_again()
    assert doorkeeper.admit(other, "host") == "line-3"
    assert "the former API keys stay" in caplog.text


def test_every_client_has_its_rate_and_so_have_those_who_guess(make_client, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key("line-2", file)
    client = make_client(keys=file, rate=0.5)
    ours = {"x-api-key": key}
    assert [client.get("/v1/models", headers=ours).status_code for _ in range(2)] == [200, 429]
    guesses = [client.get("/v1/models", headers={"x-api-key": f"rl_{row}"}) for row in range(2)]
    assert [answer.status_code for answer in guesses] == [401, 429]
    assert guesses[1].headers["retry-after"] == "2"


def test_without_a_file_everybody_is_let_in_under_their_address() -> None:
    assert Doorkeeper(None, None).admit(None, "10.0.0.7") == "10.0.0.7"
