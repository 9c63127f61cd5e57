"""Where a run reports to while it trains: which trackers, and the MLflow server or file of one of them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ringlight.config.fields import Word, without_password
from ringlight.config.parts import Section

TrackerName = Literal["tensorboard", "mlflow", "csv"]

TRACKER_NAMES: Final[tuple[TrackerName, ...]] = ("tensorboard", "mlflow", "csv")
"""Every tracker that a configuration can name."""


def _several(value: object) -> object:
    """Read one name as a list of it, null as none, and what `training.tensorboard` once held: true or false.

    Examples:
        >>> _several("csv"), _several(True), _several(False), _several(["csv", "csv", "mlflow"])
        (['csv'], ['tensorboard'], [], ['csv', 'mlflow'])
    """
    if value is None or isinstance(value, bool):
        return ["tensorboard"] if value else []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list | tuple):
        raise ValueError("a list of trackers")
    return list(dict.fromkeys(map(str, value)))


PLACE = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment are the place for it"
"""Where MLflow's own client looks for a secret."""


def _named(text: str) -> str:
    if not text.strip():
        raise ValueError("a name")
    return text


Trackers = Annotated[
    tuple[TrackerName, ...],
    BeforeValidator(_several),
    Field(
        description="where the run reports to, any number at once: tensorboard (events in the run's logs/), csv "
        "(logs/metrics.csv), mlflow (the server or file of the section mlflow); [] is nowhere. "
        "false and true, as training.tensorboard had them, are [] and [tensorboard]",
    ),
]


class MlflowConfig(Section):
    """The server, or the file, that the tracker `mlflow` and registered versions go to. Needs the extra `mlflow`."""

    tracking_uri: Annotated[Word, AfterValidator(without_password(PLACE))] | None = Field(
        None,
        description="address of a server, of a database or of a folder; null is what MLFLOW_TRACKING_URI names, else "
        "mlflow/ in the workspace. Never holds a password",
    )
    experiment: Annotated[Word, AfterValidator(_named)] = Field(
        "ringlight", description="the experiment that runs are gathered in"
    )
