"""The models a server was asked for: found, loaded with their engine, and looked up again when another is activated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.errors import UserError
from ringlight.services.inside import is_plain
from ringlight.services.registered import ACTIVE, registered_folder, version_asked
from ringlight.services.serving_engines import checksum_of, load_with, require_engine
from ringlight.services.stores import open_store
from ringlight.services.version_files import reference_of

if TYPE_CHECKING:
    from ringlight.inference.predictor import Predictor
    from ringlight.store.session import Store


@dataclass(frozen=True, slots=True)
class Wish:
    """A model as it was asked for; one that `follows` is whatever version of its name is active."""

    name: str
    model: str
    follows: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A loaded model; `version` is None for a run, a bundle or an export. Nothing of it is read from the disk again."""

    name: str
    reference: str
    """What it is called in the store, `NAME@3`, or the name of its folder."""
    version: int | None
    checksum: str
    predictor: Predictor

    @property
    def engine(self) -> str:
        """What runs it."""
        return self.predictor.engine.name

    def to_dict(self) -> dict[str, Any]:
        """Return what a client is told of it: plain values."""
        bundle = self.predictor.bundle
        return {
            "name": self.name, "version": self.version, "reference": self.reference, "checksum": self.checksum,
            "engine": self.engine, "task": str(bundle.task), "classes": list(bundle.classes),
            "good_class": bundle.good_class, "operating_point": self.predictor.decider.point.name,
            "input": bundle.input_spec.to_dict(),
        }  # fmt: skip


class Shelf:
    """The models that are asked for by a run, a bundle, an export, or a version.

    Args:
        models: each may be `NAME=MODEL`; else a version is called by its name, and anything else by its folder.
        engine: what runs them; None for what each was saved for.
        threads: of an engine on one batch; None for the engine's own choice.
        workspace: where runs and versions are looked up.

    Raises:
        UserError: a name that is taken or cannot be used, or an engine that is not known.
        RunError, BundleError, ModelError: there is no such model.
    """

    def __init__(
        self, models: Sequence[str], *, engine: str | None = None, threads: int | None = None,
        workspace: Path | str | None = None,
    ) -> None:  # fmt: skip
        require_engine(engine)
        self._engine = engine
        self._threads = threads
        self._workspace = workspace
        self._store: Store | None = None
        self._wishes: dict[str, Wish] = {}
        for model in models:
            wish = wish_of(model, workspace)
            if wish.name in self._wishes:
                raise UserError(
                    "a name for each model", got=f"`{wish.name}` for {self._wishes[wish.name].model} and {wish.model}",
                    where="ringlight serve", fix=f"name one of them: NAME={wish.model}",
                )  # fmt: skip
            self._wishes[wish.name] = wish

    @property
    def names(self) -> list[str]:
        """What the models are called."""
        return list(self._wishes)

    def open(self, name: str) -> Served:
        """Load a model: the version that is active now where it follows.

        Raises:
            RunError, BundleError, ModelError: it is gone, damaged, or cannot be run.
            MissingExtraError: its engine is not installed.
        """
        from ringlight.services.model_places import model_folder

        folder = model_folder(self._wishes[name].model, self._workspace)
        reference = reference_of(folder)
        return Served(
            name=name,
            reference=reference or _folder_name(folder),
            version=None if reference is None else int(reference.rpartition("@")[2]),
            checksum=checksum_of(folder),
            predictor=load_with(folder, engine=self._engine, threads=self._threads, workspace=self._workspace),
        )

    def moved(self, serving: Mapping[str, int | None]) -> dict[str, int | None]:
        """Return, of the names that follow, the version that is active where it is another than the one that serves.

        None where no version is active any more. One query, over a store that stays open.

        Raises:
            WorkspaceError: the store does not answer.
        """
        followed = {wish.name: version_asked(wish.model)[0] for wish in self._wishes.values() if wish.follows}
        if not followed:
            return {}
        if self._store is None:
            self._store = open_store(self._workspace)
        with self._store.reading() as unit:
            active = {row.name: row.version for row in unit.versions.find(active=True)}
        return {name: active.get(model) for name, model in followed.items() if active.get(model) != serving.get(name)}

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()
            self._store = None


def wish_of(text: str, workspace: Path | str | None) -> Wish:
    """Understand what a model is asked for by.

    Raises:
        UserError: a name that cannot stand in an address.
        RunError, BundleError, ModelError: there is no such model.
    """
    from ringlight.services.model_places import holds_model, model_folder

    name, equals, model = text.partition("=")
    named = bool(equals) and is_plain(name) and not Path(text).expanduser().exists()
    model = model if named else text
    folder = model_folder(model, workspace)
    reference = reference_of(folder)
    follows = (
        reference is not None
        and not holds_model(Path(model).expanduser())
        and version_asked(model)[1] == ACTIVE
        and registered_folder(model, workspace) is not None
    )
    if not named:
        name = _folder_name(folder) if reference is None else reference.partition("@")[0]
    if not is_plain(name):
        raise UserError("a name for the address of the model", got=repr(name), where=text, fix=f"name it: NAME={text}")
    return Wish(name, model, follows)


def _folder_name(folder: Path) -> str:
    place = folder.absolute()
    return place.parent.name if place.name == "bundle" else place.name
