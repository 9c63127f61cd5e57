"""What goes in and comes out, as the OpenAPI description tells it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(max_length=200)]


class PredictRequest(BaseModel):
    """Images in base64, or windows of a signal; one of the two."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"images": ["iVBORw0KGgo="]}]})

    images: list[str] | None = Field(None, description="Image files (JPEG, PNG, BMP, TIFF, PGM) or .npy in base64.")
    windows: list[list[list[float]]] | None = Field(
        None, description="Windows (N, T, C) in physical units, as the training data were."
    )
    channels: list[Text] | None = Field(None, description="Windows: names of the channels; another order is refused.")
    ids: list[Text] | None = Field(None, description="What each is called in the answer.")


class Truth(BaseModel):
    """What became known later of records that were decided on, by the ids of their answers."""

    model_config = ConfigDict(extra="forbid")

    labels: dict[Text, list[Text]] = Field(
        description="For each id its true class, or classes; an empty list for a good part of a multi-label model.",
        examples=[{"part 17": ["scratch"]}], max_length=100_000,
    )  # fmt: skip


class Confirmed(BaseModel):
    """How many records were remembered, and which were not: observed too long ago, by another worker, or never."""

    confirmed: int
    unknown: list[str]


class Decision(BaseModel):
    """What the model makes of one image or window."""

    id: str
    verdict: str | None = Field(description="`ok`, `defect` or `human`; null where the model has no good class.")
    labels: list[str] = Field(description="Classes at the operating point.")
    score: float = Field(description="How sure the decision is, 0 to 1.")
    probabilities: dict[str, float] = Field(description="Of each class, calibrated.")
    to_human: bool = Field(description="Not sure enough, or of no known class.")
    unknown: bool | None = Field(description="Of no known class; null where the model has no such rule.")


class Answer(BaseModel):
    """Decisions in the order of what was sent, and which model made them."""

    model: str
    version: int | None = Field(description="null for a run, a bundle or an export.")
    checksum: str
    engine: str
    operating_point: str
    request_id: str
    results: list[Decision]


class ModelInfo(BaseModel):
    """A model that is served."""

    name: str
    version: int | None
    reference: str
    checksum: str
    engine: str
    task: str
    classes: list[str]
    good_class: str | None
    operating_point: str
    input: dict[str, Any]
    fault: str | None = Field(description="Why a version that was activated does not serve; null where all is well.")


class Models(BaseModel):
    """All models that are served."""

    models: list[ModelInfo]


class Problem(BaseModel):
    """Why there is no answer (RFC 9457); `detail` says in one line what was expected, what came, and what to do."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class Health(BaseModel):
    """Whether the server answers, and what keeps it from it."""

    status: str
    detail: dict[str, str] = Field(default_factory=dict)
