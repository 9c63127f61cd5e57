"""Data sets, runs, versions and what happened to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
TIME = sa.DateTime(timezone=True)


def _one_of(name: str, *words: str) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=16)


def upgrade() -> None:
    """Create the tables, each after those it refers to."""
    _datasets()
    _records()
    _annotations()
    _snapshots()
    _splits()
    _training_history()
    _artifacts()
    _epoch_metrics()
    _model_versions()
    _activations()
    _events()


def _datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("task", _one_of("task", "multiclass", "multilabel", "detection"), nullable=False),
        sa.Column("classes", JSON, nullable=False),
        sa.Column("source", JSON, nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("name", name=op.f("uq_datasets_name")),
    )


def _records() -> None:
    op.create_table(
        "records",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=True),
        sa.Column("group", sa.Text(), nullable=True),
        sa.Column("time", TIME, nullable=True),
        sa.Column("added", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_records_dataset_id_datasets"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_records")),
        sa.UniqueConstraint("dataset_id", "record", name=op.f("uq_records_dataset_id_record")),
    )
    op.create_index(op.f("ix_records_checksum"), "records", ["checksum"], unique=False)


def _annotations() -> None:
    op.create_table(
        "annotations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("record_id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("boxes", JSON, nullable=False),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("state", _one_of("review_state", "draft", "submitted", "approved", "rejected"), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["record_id"], ["records.id"], name=op.f("fk_annotations_record_id_records"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotations")),
        sa.UniqueConstraint("record_id", "revision", name=op.f("uq_annotations_record_id_revision")),
    )
    op.create_index(
        "ux_annotations_current",
        "annotations",
        ["record_id"],
        unique=True,
        sqlite_where=sa.text("is_current = 1"),
        postgresql_where=sa.text("is_current"),
    )


def _snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("task", sa.String(length=16), nullable=False),
        sa.Column("classes", JSON, nullable=False),
        sa.Column("num_records", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_snapshots_dataset_id_datasets"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshots")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_snapshots_fingerprint")),
    )
    op.create_index(op.f("ix_snapshots_dataset_id"), "snapshots", ["dataset_id"], unique=False)


def _splits() -> None:
    op.create_table(
        "splits",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("snapshot_id", sa.Integer(), nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("sizes", JSON, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshots.id"], name=op.f("fk_splits_snapshot_id_snapshots"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_splits")),
        sa.UniqueConstraint("snapshot_id", "checksum", name=op.f("uq_splits_snapshot_id_checksum")),
    )


def _training_history() -> None:
    op.create_table(
        "training_history",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("kind", _one_of("run_kind", "train", "crossval", "tune"), nullable=False),
        sa.Column("recipe", sa.String(length=200), nullable=True),
        sa.Column("config", JSON, nullable=False),
        sa.Column(
            "status",
            _one_of("run_status", "created", "running", "paused", "interrupted", "completed", "failed", "cancelled"),
            nullable=False,
        ),
        sa.Column("seed", sa.Integer(), nullable=True),
        sa.Column("device", sa.String(length=32), nullable=True),
        sa.Column("process", JSON, nullable=True),
        sa.Column("snapshot_id", sa.Integer(), nullable=True),
        sa.Column("split_id", sa.Integer(), nullable=True),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("started", TIME, nullable=True),
        sa.Column("finished", TIME, nullable=True),
        sa.Column("timings", JSON, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("metrics", JSON, nullable=True),
        sa.Column("created", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["training_history.id"],
            name=op.f("fk_training_history_parent_id_training_history"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["snapshots.id"],
            name=op.f("fk_training_history_snapshot_id_snapshots"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["split_id"], ["splits.id"], name=op.f("fk_training_history_split_id_splits"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_history")),
        sa.UniqueConstraint("name", name=op.f("uq_training_history_name")),
    )
    op.create_index(op.f("ix_training_history_parent_id"), "training_history", ["parent_id"], unique=False)
    op.create_index(op.f("ix_training_history_recipe"), "training_history", ["recipe"], unique=False)
    op.create_index(op.f("ix_training_history_snapshot_id"), "training_history", ["snapshot_id"], unique=False)
    op.create_index(op.f("ix_training_history_split_id"), "training_history", ["split_id"], unique=False)
    op.create_index(op.f("ix_training_history_started"), "training_history", ["started"], unique=False)
    op.create_index("ix_training_history_status_started", "training_history", ["status", "started"], unique=False)


def _artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("num_bytes", sa.Integer(), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=True),
        sa.Column("created", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["training_history.id"], name=op.f("fk_artifacts_run_id_training_history"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
        sa.UniqueConstraint("run_id", "path", name=op.f("uq_artifacts_run_id_path")),
    )


def _epoch_metrics() -> None:
    op.create_table(
        "epoch_metrics",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("metrics", JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["training_history.id"],
            name=op.f("fk_epoch_metrics_run_id_training_history"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "epoch", name=op.f("pk_epoch_metrics")),
        sqlite_with_rowid=False,
    )


def _model_versions() -> None:
    op.create_table(
        "model_versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", _one_of("model_kind", "detection", "view", "defect", "window"), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("metrics", JSON, nullable=False),
        sa.Column("classes", JSON, nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("snapshot_id", sa.Integer(), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.CheckConstraint("version >= 1", name=op.f("ck_model_versions_version_counts")),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["training_history.id"],
            name=op.f("fk_model_versions_run_id_training_history"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshots.id"], name=op.f("fk_model_versions_snapshot_id_snapshots"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_model_versions_name_version")),
        sa.UniqueConstraint("path", name=op.f("uq_model_versions_path")),
    )
    op.create_index(op.f("ix_model_versions_run_id"), "model_versions", ["run_id"], unique=False)
    op.create_index(op.f("ix_model_versions_snapshot_id"), "model_versions", ["snapshot_id"], unique=False)
    op.create_index(
        "ux_model_versions_active",
        "model_versions",
        ["name"],
        unique=True,
        sqlite_where=sa.text("is_active = 1"),
        postgresql_where=sa.text("is_active"),
    )


def _activations() -> None:
    op.create_table(
        "activations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("action", _one_of("activation_action", "activate", "rollback", "deactivate"), nullable=False),
        sa.Column("from_version", sa.Integer(), nullable=True),
        sa.Column("to_version", sa.Integer(), nullable=True),
        sa.Column("to_checksum", sa.String(length=64), nullable=True),
        sa.Column("who", sa.String(length=200), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("gate", JSON, nullable=True),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activations")),
    )
    op.create_index(op.f("ix_activations_name"), "activations", ["name"], unique=False)


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("subject", sa.String(length=16), nullable=False),
        sa.Column("subject_id", sa.String(length=200), nullable=False),
        sa.Column("what", sa.String(length=64), nullable=False),
        sa.Column("who", sa.String(length=200), nullable=True),
        sa.Column("data", JSON, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_subject", "events", ["subject", "subject_id"], unique=False)


def downgrade() -> None:
    """Drop them."""
    op.drop_index(
        "ux_model_versions_active",
        table_name="model_versions",
        sqlite_where=sa.text("is_active = 1"),
        postgresql_where=sa.text("is_active"),
    )
    op.drop_index(op.f("ix_model_versions_snapshot_id"), table_name="model_versions")
    op.drop_index(op.f("ix_model_versions_run_id"), table_name="model_versions")
    op.drop_table("model_versions")
    op.drop_table("epoch_metrics")
    op.drop_table("artifacts")
    op.drop_index("ix_training_history_status_started", table_name="training_history")
    op.drop_index(op.f("ix_training_history_started"), table_name="training_history")
    op.drop_index(op.f("ix_training_history_split_id"), table_name="training_history")
    op.drop_index(op.f("ix_training_history_snapshot_id"), table_name="training_history")
    op.drop_index(op.f("ix_training_history_recipe"), table_name="training_history")
    op.drop_index(op.f("ix_training_history_parent_id"), table_name="training_history")
    op.drop_table("training_history")
    op.drop_table("splits")
    op.drop_index(
        "ux_annotations_current",
        table_name="annotations",
        sqlite_where=sa.text("is_current = 1"),
        postgresql_where=sa.text("is_current"),
    )
    op.drop_table("annotations")
    op.drop_index(op.f("ix_snapshots_dataset_id"), table_name="snapshots")
    op.drop_table("snapshots")
    op.drop_index(op.f("ix_records_checksum"), table_name="records")
    op.drop_table("records")
    op.drop_index("ix_events_subject", table_name="events")
    op.drop_table("events")
    op.drop_table("datasets")
    op.drop_index(op.f("ix_activations_name"), table_name="activations")
    op.drop_table("activations")
