"""Models by the seed's names: networks of the catalogue for a shape of windows, estimators of scikit-learn.

The parameters of a model are read from the configuration's `models.NAME`, such as `{"models": {"cnn1d": {"filters":
[32, 64]}}}`. A network remembers its place in the catalogue, so that its bundle loads without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import nn

from ringlight.config.seed_layout import read_seed_layout
from ringlight.errors import ConfigError, ModelError, did_you_mean
from ringlight.models import build_sequence_model

PART = "_ringlight_part"
"""The attribute under which a built network remembers its part of the catalogue."""


@dataclass(frozen=True, slots=True)
class Part:
    """A model of the catalogue: its name and its own parameters."""

    name: str
    params: Mapping[str, Any]
    drop_rate: float = 0.0


class NetworkBuilder:
    """Builds a network of the catalogue; `model` is it.

    Args:
        config: the seed's dictionary, of which `models.NAME` is read; `drop_rate` stands among its parameters.
    """

    name: ClassVar[str]

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self._params = dict(read_seed_layout(config).models.get(self.name, {}))
        self._model: nn.Module | None = None

    def build(self, input_shape: Sequence[int], n_classes: int) -> Self:
        """Build it for windows (T, C) and K classes; `input_shape` is as Keras has it, time first.

        Raises:
            Problems: parameters that the model does not have, a line each.
            ModelError: an impossible shape.
        """
        if len(input_shape) != 2:
            raise ModelError(
                "(T, C): time steps and channels", got=str(tuple(input_shape)), where="input_shape", fix="(1024, 9)"
            )
        length, channels = input_shape
        params = {key: value for key, value in self._params.items() if key != "drop_rate"}
        part = Part(self.name, params, float(self._params.get("drop_rate", 0.0)))
        self._model = build_sequence_model(
            part.name, num_classes=n_classes, in_chans=channels, length=length, drop_rate=part.drop_rate, params=params
        ).module
        object.__setattr__(self._model, PART, part)
        return self

    @property
    def model(self) -> nn.Module:
        """The network.

        Raises:
            ModelError: it was not built yet.
        """
        if self._model is None:
            raise ModelError(
                "a built model", got="none", where=type(self).__name__,
                fix="call build(input_shape=(1024, 9), n_classes=4) first",
            )  # fmt: skip
        return self._model


class CNN1DBuilder(NetworkBuilder):
    """Builds `cnn1d`: blocks of one-dimensional convolutions."""

    name: ClassVar[str] = "cnn1d"


class LSTMBuilder(NetworkBuilder):
    """Builds `lstm`: a recurrent network, bidirectional, with attention over time."""

    name: ClassVar[str] = "lstm"


class EnsembleModel(NetworkBuilder):
    """Builds `ensemble`: soft voting or stacking over `models.ensemble.members`, trained together as one model."""

    name: ClassVar[str] = "ensemble"


class RandomForestModel:
    """scikit-learn's `RandomForestClassifier`, as `model`; `models.random_forest` holds its parameters."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        from sklearn.ensemble import RandomForestClassifier

        chosen = read_seed_layout(config).models.get("random_forest", {})
        self.model = _estimator(RandomForestClassifier, {"n_estimators": 300, "random_state": 0, **chosen})


class SVMClassifier:
    """scikit-learn's `SVC`, as `model`; `models.svm` holds its parameters."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        from sklearn.svm import SVC

        self.model = _estimator(SVC, {"C": 10.0, **read_seed_layout(config).models.get("svm", {})})


def model_of(given: Any) -> Any:
    """Return the model of a builder, anything else as it is."""
    return given.model if isinstance(given, NetworkBuilder | RandomForestModel | SVMClassifier) else given


def part_of(model: object) -> Part | None:
    """Return the part of the catalogue that a network was built as; None for one of one's own."""
    found = getattr(model, PART, None)
    return found if isinstance(found, Part) else None


def _estimator(kind: Any, params: Mapping[str, Any]) -> Any:
    known = list(kind().get_params())
    for key in params:
        if key not in known:
            raise ConfigError(
                f"a parameter of {kind.__name__}", got=f"`{key}`", where="models", fix=did_you_mean(key, known)
            )
    return kind(**params)
