"""Trackers by name, in today's spelling and in that of before; an address that holds a secret is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringlight.config.load import compose, read_config, to_yaml
from ringlight.config.schema import Config
from ringlight.errors import Problems, UserError, redacted

SECRETS = (
    "http://me:s3cret@host:5000",
    "https://s3cret@host",
    "http://me:p/s3cret@host",
    "postgresql+psycopg://me:s3cret@host/mlflow",
    "postgresql://host/mlflow?user=me&password=s3cret",
)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.trackers=[csv,mlflow]", ("csv", "mlflow")),
        ("training.trackers=csv", ("csv",)),
        ("training.trackers=[csv,csv]", ("csv",)),
        ("training.trackers=[]", ()),
        ("training.trackers=null", ()),
        ("training.tensorboard=false", ()),
        ("training.tensorboard=true", ("tensorboard",)),
    ],
)
def test_trackers_are_a_list_of_names(override: str, expected: tuple[str, ...]) -> None:
    assert compose("demo", [override]).training.trackers == expected


def test_without_a_word_it_is_tensorboard() -> None:
    assert Config().training.trackers == ("tensorboard",)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "training.trackers=[mlfow]",
            "training.trackers: expected 'tensorboard', 'mlflow' or 'csv', got 'mlfow'; did you mean `mlflow`?",
        ),
        (
            "training.trackers=5",
            "training.trackers: expected a list of trackers, got 5; correct the value (default: ('tensorboard',))",
        ),
        (
            "mlflow.experiment=' '",
            "mlflow.experiment: expected a name, got ' '; correct the value (default: ringlight)",
        ),
        (
            "mlflow.tracking_url=x",
            "mlflow.tracking_url: expected a key of mlflow, got unknown key `mlflow.tracking_url`; did you mean "
            "`tracking_uri`?",
        ),
    ],
)
def test_what_names_no_tracker_is_refused(override: str, line: str) -> None:
    with pytest.raises(Problems) as caught:
        compose("demo", [override])
    assert str(caught.value) == line


def test_a_run_of_before_is_read_with_its_own_key(tmp_path: Path) -> None:
    text = to_yaml(Config()).replace("  trackers:\n  - tensorboard\n", "  tensorboard: false\n")
    text = text[: text.index("mlflow:")]
    (tmp_path / "config.yaml").write_text(text)
    found = read_config(tmp_path / "config.yaml")
    assert (found.training.trackers, found.mlflow.experiment) == ((), "ringlight")


@pytest.mark.parametrize("address", SECRETS)
def test_an_address_with_a_secret_is_refused_and_not_shown(address: str, tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(f"recipe: demo\nmlflow: {{tracking_uri: '{address}'}}\n")
    said = []
    for overrides, file in (
        ([f"mlflow.tracking_uri={address}"], None),
        ([], tmp_path / "plant.yaml"),
        ([f"mlflow={{tracking_uri: '{address}'}}"], None),
        ([f"mlflow={{tracking_uri: {address}}}"], None),  # Hydra's grammar refuses the colon
        ([f"mlflow={address}"], None),
        ([f"mlflow.tracking_uri={address.replace('//', '//' + 'u' * 70)}"], None),  # the line is cut before the @
    ):
        with pytest.raises(UserError) as caught:
            compose("demo", overrides, file=file)
        said.append(str(caught.value))
    assert said[0].startswith("mlflow.tracking_uri: expected an address without a password (MLFLOW_TRACKING_USERNAME ")
    assert [line for line in said if "s3cret" in line] == []


@pytest.mark.parametrize("address", ["http://host:5000/mlflow", "sqlite:////w/a:b@c.db", "postgresql://me@host/mlflow"])
def test_an_address_without_one_is_taken_as_it_stands(address: str) -> None:
    assert compose("demo", [f"mlflow.tracking_uri={address}"]).mlflow.tracking_uri == address


def test_every_secret_of_a_text_is_hidden() -> None:
    text = f"tried {SECRETS[0]!r} and {SECRETS[3]}, then https://host/path?token=s3cret&page=2"
    assert redacted(text) == (
        "tried 'http://***@host:5000' and postgresql+psycopg://***@host/mlflow, then https://host/path?token=***&page=2"
    )
