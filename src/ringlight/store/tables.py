"""The tables of the store: data sets, runs, versions, jobs, and what happened to them.

Paths are relative to the workspace, so that a workspace may be moved. What a database can promise by itself it does:
one active version a name, one current revision of a record's annotation, foreign keys, known states.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ringlight.store.types import Json, UtcTime, now

RUN_STATES = ("created", "running", "paused", "interrupted", "completed", "failed", "cancelled")
"""How a run may stand; `interrupted` is one that was stopped, or whose process is gone."""

MODEL_KINDS = ("detection", "view", "defect", "window")
"""The shelves of `models/`, and what a version is of."""

JOB_STATES = ("queued", "running", "pausing", "paused", "cancelling", "cancelled", "completed", "failed")
"""How a job may stand; which follows which: :data:`ringlight.store.jobs.TRANSITIONS`."""

ENDED = ("cancelled", "completed", "failed")
"""How a job stands that nobody works on any more."""

REVIEW_STATES = ("draft", "submitted", "approved", "rejected")
"""How an annotation stands with whoever reviews it."""


class Base(DeclarativeBase):
    """What all tables have in common: constraints with names, which a migration can find again."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def _one_of(name: str, values: tuple[str, ...]) -> Enum:
    """Return a column type of a few words, checked by the database; as text, so that a migration can add one."""
    return Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)


class DatasetRow(Base):
    """A data set that people work on: its records are added, annotated and reviewed."""

    __tablename__ = "datasets"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    task: Mapped[str] = mapped_column(_one_of("task", ("multiclass", "multilabel", "detection")))
    classes: Mapped[list[str]] = mapped_column(Json)
    source: Mapped[dict[str, Any]] = mapped_column(Json)
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)


class SnapshotRow(Base):
    """A data set as a run saw it: immutable, known by its fingerprint; its records lie in a Parquet file."""

    __tablename__ = "snapshots"

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    task: Mapped[str] = mapped_column(String(16))
    classes: Mapped[list[str]] = mapped_column(Json)
    num_records: Mapped[int]
    path: Mapped[str] = mapped_column(Text)
    checksum: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)


class RecordRow(Base):
    """One image or window of a data set."""

    __tablename__ = "records"
    __table_args__ = (UniqueConstraint("dataset_id", "record"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    record: Mapped[str] = mapped_column(Text)
    uri: Mapped[str] = mapped_column(Text)
    checksum: Mapped[str | None] = mapped_column(String(64), index=True)
    group: Mapped[str | None] = mapped_column(Text)
    time: Mapped[datetime | None] = mapped_column(UtcTime)
    added: Mapped[datetime] = mapped_column(UtcTime, default=now)


class AnnotationRow(Base):
    """One revision of what a person said of a record; the earlier ones stay, one is current."""

    __tablename__ = "annotations"
    __table_args__ = (
        UniqueConstraint("record_id", "revision"),
        Index(
            "ux_annotations_current", "record_id", unique=True,
            sqlite_where=text("is_current = 1"), postgresql_where=text("is_current"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(primary_key=True)
    record_id: Mapped[int] = mapped_column(ForeignKey("records.id", ondelete="CASCADE"))
    revision: Mapped[int]
    labels: Mapped[list[str]] = mapped_column(Json)
    boxes: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    author: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(_one_of("review_state", REVIEW_STATES), default="draft")
    is_current: Mapped[bool] = mapped_column(default=True)
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)


class SplitRow(Base):
    """How a snapshot was divided."""

    __tablename__ = "splits"
    __table_args__ = (UniqueConstraint("snapshot_id", "checksum"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshots.id", ondelete="CASCADE"))
    method: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int]
    sizes: Mapped[dict[str, int]] = mapped_column(Json)
    path: Mapped[str] = mapped_column(Text)
    checksum: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)


class RunRow(Base):
    """One execution of a configuration."""

    __tablename__ = "training_history"
    __table_args__ = (Index("ix_training_history_status_started", "status", "started"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    path: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(_one_of("run_kind", ("train", "crossval", "tune")), default="train")
    recipe: Mapped[str | None] = mapped_column(String(200), index=True)
    config: Mapped[dict[str, Any]] = mapped_column(Json)
    status: Mapped[str] = mapped_column(_one_of("run_status", RUN_STATES), default="created")
    seed: Mapped[int | None]
    device: Mapped[str | None] = mapped_column(String(32))
    process: Mapped[dict[str, Any] | None] = mapped_column(Json)
    snapshot_id: Mapped[int | None] = mapped_column(ForeignKey("snapshots.id", ondelete="RESTRICT"), index=True)
    split_id: Mapped[int | None] = mapped_column(ForeignKey("splits.id", ondelete="RESTRICT"), index=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("training_history.id", ondelete="SET NULL"), index=True)
    started: Mapped[datetime | None] = mapped_column(UtcTime, index=True)
    finished: Mapped[datetime | None] = mapped_column(UtcTime)
    timings: Mapped[dict[str, float] | None] = mapped_column(Json)
    error: Mapped[str | None] = mapped_column(Text)
    metrics: Mapped[dict[str, float] | None] = mapped_column(Json)
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)


class EpochRow(Base):
    """What an epoch of a run measured."""

    __tablename__ = "epoch_metrics"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[int] = mapped_column(ForeignKey("training_history.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    metrics: Mapped[dict[str, float | None]] = mapped_column(Json)


class ArtifactRow(Base):
    """A file that a run left."""

    __tablename__ = "artifacts"
    __table_args__ = (UniqueConstraint("run_id", "path"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("training_history.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(32))
    path: Mapped[str] = mapped_column(Text)
    num_bytes: Mapped[int]
    checksum: Mapped[str | None] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)


class VersionRow(Base):
    """A registered bundle of one model name."""

    __tablename__ = "model_versions"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        CheckConstraint("version >= 1", name="version_counts"),
        Index(
            "ux_model_versions_active", "name", unique=True,
            sqlite_where=text("is_active = 1"), postgresql_where=text("is_active"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    version: Mapped[int]
    kind: Mapped[str] = mapped_column(_one_of("model_kind", MODEL_KINDS))
    label: Mapped[str] = mapped_column(String(200))
    path: Mapped[str] = mapped_column(Text, unique=True)
    checksum: Mapped[str] = mapped_column(String(64))
    metrics: Mapped[dict[str, float]] = mapped_column(Json)
    classes: Mapped[list[str]] = mapped_column(Json)
    description: Mapped[str | None] = mapped_column(Text)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("training_history.id", ondelete="SET NULL"), index=True)
    snapshot_id: Mapped[int | None] = mapped_column(ForeignKey("snapshots.id", ondelete="RESTRICT"), index=True)
    is_active: Mapped[bool] = mapped_column(default=False)
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)


class ActivationRow(Base):
    """Who made which version active, when and why. Rows are never changed and outlive the versions they name."""

    __tablename__ = "activations"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), index=True)
    action: Mapped[str] = mapped_column(_one_of("activation_action", ("activate", "rollback", "deactivate")))
    from_version: Mapped[int | None]
    to_version: Mapped[int | None]
    to_checksum: Mapped[str | None] = mapped_column(String(64))
    who: Mapped[str] = mapped_column(String(200))
    why: Mapped[str | None] = mapped_column(Text)
    gate: Mapped[dict[str, Any] | None] = mapped_column(Json)
    at: Mapped[datetime] = mapped_column(UtcTime, default=now)


class JobRow(Base):
    """Work that waits for a worker, is at work, or has ended."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_waiting", "state", "priority", "id"),
        Index("ix_jobs_lease", "state", "lease_until"),
        CheckConstraint("attempts >= 0", name="attempts_count"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    state: Mapped[str] = mapped_column(_one_of("job_state", JOB_STATES), default="queued")
    priority: Mapped[int] = mapped_column(default=0)
    device: Mapped[str] = mapped_column(String(32), default="auto")
    memory_gib: Mapped[float | None]
    attempts: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int] = mapped_column(default=3)
    worker: Mapped[str | None] = mapped_column(String(200))
    lease: Mapped[str | None] = mapped_column(String(32))
    lease_until: Mapped[datetime | None] = mapped_column(UtcTime)
    heartbeat: Mapped[datetime | None] = mapped_column(UtcTime)
    progress: Mapped[dict[str, Any] | None] = mapped_column(Json)
    keep_checkpoint: Mapped[bool] = mapped_column(default=False)
    run: Mapped[str | None] = mapped_column(String(200), index=True)
    version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id", ondelete="SET NULL"), index=True)
    log: Mapped[str | None] = mapped_column(Text)
    result: Mapped[dict[str, Any] | None] = mapped_column(Json)
    error: Mapped[str | None] = mapped_column(Text)
    submitted_by: Mapped[str | None] = mapped_column(String(200))
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)
    started: Mapped[datetime | None] = mapped_column(UtcTime)
    finished: Mapped[datetime | None] = mapped_column(UtcTime)


class EventRow(Base):
    """What happened, in order: to a run, a version, a job, or the workspace."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_subject", "subject", "subject_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    subject: Mapped[str] = mapped_column(String(16))
    subject_id: Mapped[str] = mapped_column(String(200))
    what: Mapped[str] = mapped_column(String(64))
    who: Mapped[str | None] = mapped_column(String(200))
    data: Mapped[dict[str, Any] | None] = mapped_column(Json)
