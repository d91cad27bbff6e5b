"""The JSON of requests and responses."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field

from .database import InspectionRow

# No control characters: names end up in databases, headers and pages.
Label = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
PRODUCT = (
    "Product that the images show. It chooses the reference of good photos, or the threshold; "
    "if there are references, it must be one of theirs, and may be left out if there is but one."
)
File = Literal["map.png", "map.npz", "overlay.png", "photo.jpg", "thumb.jpg"]


class UploadedImage(BaseModel, extra="forbid"):
    """An image in a JSON request."""

    data: str = Field(description="The image file in base64; a data: URL is taken too.")
    name: Label | None = None


class InspectRequest(BaseModel, extra="forbid"):
    """The JSON form of a request."""

    images: list[UploadedImage] = Field(min_length=1)
    product: Label | None = Field(None, description=PRODUCT)


class ErrorDetail(BaseModel):
    """What is wrong, and what to do."""

    kind: str
    message: str


class ErrorBody(BaseModel):
    """The response to a refused request."""

    error: ErrorDetail


class Token(BaseModel, extra="allow"):
    """One reasoning token; `start` and `end` are character offsets in `explanation`."""

    text: str
    start: int
    end: int
    S_T: float
    S_I: float
    selected: bool
    weight: float


class Review(BaseModel):
    """A review. `true_label` is true for a defective part."""

    verdict: Literal["right", "wrong"]
    true_label: bool
    reviewed: AwareDatetime


class InspectionBody(BaseModel, extra="allow"):
    """One inspection: the fields of `flawsight.Inspection`, and those of the store."""

    id: str
    created: AwareDatetime
    name: str | None
    product: str | None
    image_size: tuple[int, int] = Field(
        description="(height, width) of the upright photo in pixels."
    )
    inspected_size: tuple[int, int] | None = Field(
        None, description="(height, width) at which it was inspected; large photos are reduced."
    )
    pred_label: bool
    pred_score: float
    answer: str | None = Field(
        description="Yes or No; null if the model was not asked, and there is no explanation."
    )
    answer_forced: bool = Field(
        False, description="Whether the response gave no Yes or No; `answer` is then the likelier."
    )
    explanation: str
    contradiction: bool | None = Field(
        description="Whether `disagreements` names any; None if the model was not asked."
    )
    disagreements: list[Literal["verdict/answer", "verdict/reasoning", "answer/reasoning"]] = Field(
        description="Which of verdict (pred_label), answer and reasoning (explanation) disagree."
    )
    evidence: dict[str, float] = Field(
        {}, description="What speaks for a defect, in [0, 1]: words, crops, reference."
    )
    warnings: list[str] = Field([], description="What is wrong with the photo, in sentences.")
    tokens: list[Token]
    reference_sha256: str | None = Field(
        None, description="Hash of the reference of good photos; null if there was none."
    )
    threshold: float | None = Field(
        None, description="Above which pred_score is defective; null if the answer decides."
    )
    roi_setting: str | None = Field(
        None, description="Region of interest that was inspected; null for the whole photo."
    )
    seconds: float
    review: Review | None
    files: dict[File, str] = Field(
        default={}, description="The files that ?include= names, in base64."
    )


class FailedImage(BaseModel):
    """An image that could not be inspected. It is not stored."""

    name: str | None
    error: ErrorDetail


class InspectBody(BaseModel):
    """One result per image, in the order of the request."""

    results: list[InspectionBody | FailedImage]


class InspectionsBody(BaseModel):
    """A page of inspections, newest first; `next` is the `before` of the next page."""

    inspections: list[InspectionBody]
    next: str | None
    damaged: list[str] = Field(description="The ids of those that cannot be read.")


class ReviewRequest(BaseModel, extra="forbid"):
    """Whether the verdict of the service is right."""

    verdict: Literal["right", "wrong"]


class GoodPhotoBody(BaseModel):
    """A photo of a reference."""

    id: str
    name: str
    score: float | None = Field(
        description="Of this photo in comparison with the others; null if it is the only one."
    )


class ReferenceBody(BaseModel):
    """The good photos that a product is compared with."""

    product: str
    sha256: str
    threshold: float | None = Field(description="A part is defective if its score is above it.")
    calibrated: bool = Field(
        description="Whether that is a calibration's; the photos can then not be changed."
    )
    most: int = Field(description="Photos that a changed reference may have.")
    photos: list[GoodPhotoBody]


class ReferencesBody(BaseModel):
    """All references of the service."""

    references: list[ReferenceBody]


class GoodPhotoRequest(BaseModel, extra="forbid"):
    """The photo to learn: that of an inspection of this product, reviewed as good."""

    inspection: str = Field(pattern="^[0-9a-f]{32}$")


class ProductBody(BaseModel):
    """A product: its inspections, those reviewed as good and as defective, and its threshold."""

    product: str | None
    inspections: int
    good: int
    defective: int
    inspected: bool = Field(description="Whether the service inspects it now.")
    threshold: float | None = Field(description="In use; null if the answer decides.")
    saved: bool = Field(description="Whether it was saved here.")
    roi: str | None = Field(description="Region of interest that was saved here.")
    can_have_roi: bool = Field(
        description="False if its reference, calibration or prompt photos fix what is seen."
    )


class ProductsBody(BaseModel):
    """All products, those with the most inspections first."""

    products: list[ProductBody]


class ThresholdRequest(BaseModel, extra="forbid"):
    """The threshold of a product; null removes the saved one."""

    product: Label | None = None
    threshold: float | None = Field(ge=0, le=1)


class RoiBody(BaseModel, extra="forbid"):
    """The region of interest of a product; null is the whole photo."""

    product: Label | None = None
    roi: str | None = Field(
        max_length=200_100,
        description="LEFT,TOP,WIDTH,HEIGHT in percent, like 10%,5%,80%,90%, or a mask's text.",
    )


class ThresholdBody(BaseModel):
    """The threshold in use."""

    product: str | None
    threshold: float | None
    saved: bool


class EffectBody(BaseModel):
    """What a threshold would change; before is as inspected, after is by the threshold."""

    threshold: float
    inspections: int
    defective_before: int
    defective_after: int
    good: int = Field(description="Reviewed as good.")
    defective: int = Field(description="Reviewed as defective.")
    false_alarms_before: int
    false_alarms_after: int
    missed_before: int
    missed_after: int


class WeeksBody(BaseModel):
    """The scores of some days; `until` is exclusive."""

    since: AwareDatetime
    until: AwareDatetime
    count: int
    defective: float = Field(description="Share that was called defective.")
    median: float
    histogram: list[int] = Field(description="Counts of scores in 20 equal bins of [0, 1].")


class DriftBody(BaseModel):
    """The scores of a product's latest week, compared with those of its reference weeks."""

    product: str | None
    latest: WeeksBody | None
    reference: WeeksBody | None = Field(
        description="The first four weeks with the present model, reference and threshold."
    )
    distance: float | None = Field(
        description="Of Kolmogorov and Smirnov, in [0, 1]; null if there are too few inspections."
    )
    p_value: float | None = Field(description="Corrected for a year of daily looks.")
    drifted: bool | None


class DriftsBody(BaseModel):
    """The drift of all products, the busiest first."""

    products: list[DriftBody]


class ReloadBody(BaseModel):
    """What images are inspected with after a reload."""

    model: str | None
    model_sha256: str | None
    thresholds: dict[str, float] = Field(description="Of the calibration, by product.")
    references: dict[str, str] = Field(description="Hashes of the references, by product.")


class Status(BaseModel):
    """The response of /healthz."""

    status: str


class Readiness(Status):
    """The response of /readyz."""

    reload: Literal["refused"] | None = Field(
        None, description="Whether the latest reload was refused; the log and its answer say why."
    )


def inspection_body(row: InspectionRow, files: dict[File, str] | None = None) -> InspectionBody:
    """Return a row as a client sees it."""
    review = None
    if row.true_label is not None and row.reviewed_ms is not None:
        review = Review(
            verdict="right" if row.true_label == row.pred_label else "wrong",
            true_label=row.true_label,
            reviewed=_time(row.reviewed_ms),
        )
    return InspectionBody(
        **{name: value for name, value in row.content.items() if name != "image"},
        id=row.id,
        created=_time(row.created_ms),
        name=row.name,
        product=row.product,
        review=review,
        files=files or {},
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
