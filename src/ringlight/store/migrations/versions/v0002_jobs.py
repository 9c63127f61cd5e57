"""The queue of jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
TIME = sa.DateTime(timezone=True)


def _one_of(name: str, *words: str) -> sa.Enum:
    """Return a column type of a few words; the name is that of its check constraint."""
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=16)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column(
            "state",
            _one_of(
                "ck_jobs_job_state",
                "queued",
                "running",
                "pausing",
                "paused",
                "cancelling",
                "cancelled",
                "completed",
                "failed",
            ),
            nullable=False,
        ),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("memory_gib", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=True),
        sa.Column("lease", sa.String(length=32), nullable=True),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("heartbeat", TIME, nullable=True),
        sa.Column("progress", JSON, nullable=True),
        sa.Column("keep_checkpoint", sa.Boolean(), nullable=False),
        sa.Column("run", sa.String(length=200), nullable=True),
        sa.Column("version_id", sa.Integer(), nullable=True),
        sa.Column("log", sa.Text(), nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("submitted_by", sa.String(length=200), nullable=True),
        sa.Column("created", TIME, nullable=False),
        sa.Column("started", TIME, nullable=True),
        sa.Column("finished", TIME, nullable=True),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_jobs_attempts_count")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_versions.id"], name=op.f("fk_jobs_version_id_model_versions"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_lease", "jobs", ["state", "lease_until"], unique=False)
    op.create_index(op.f("ix_jobs_run"), "jobs", ["run"], unique=False)
    op.create_index(op.f("ix_jobs_version_id"), "jobs", ["version_id"], unique=False)
    op.create_index("ix_jobs_waiting", "jobs", ["state", "priority", "id"], unique=False)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_jobs_waiting", table_name="jobs")
    op.drop_index(op.f("ix_jobs_version_id"), table_name="jobs")
    op.drop_index(op.f("ix_jobs_run"), table_name="jobs")
    op.drop_index("ix_jobs_lease", table_name="jobs")
    op.drop_table("jobs")
