"""flawsight as a model of anomalib 2: `Engine().predict` and `.test` with its data modules."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import FlawsightError, MissingExtraError
from ..export.export_regions import MAP_THRESHOLD
from ..inspection import Inspection
from ..inspector import Inspector
from ..real.regions import mask_of

try:
    from anomalib import LearningType
    from anomalib.models.components import AnomalibModule
except ImportError as error:
    raise MissingExtraError("anomalib", "anomalib") from error

logger = logging.getLogger(__name__)


class Flawsight(AnomalibModule):
    """A zero-shot model, or with a reference a few-shot one; nothing is fitted.

    >>> from anomalib.engine import Engine
    >>> Engine().test(model=Flawsight(), datamodule=MVTecAD("MVTecAD", "bottle"))
    >>> Engine().test(model=Flawsight(reference="bottle.reference"), datamodule=…)

    A batch gets pred_score (B,) in [0, 1], pred_label (B,), anomaly_map (B, 1, height, width) in
    [0, 1], pred_mask of that shape, and explanation, B texts. The batch's tensors are inspected,
    so maps are in the frame of the data module's masks, even if it resizes. An image whose response
    holds no answer is predicted defective, with the score 0.5 and an empty map, and its explanation
    is the error.

    Args:
        model: see `Inspector.from_pretrained`.
        map_threshold: pixels of the map above it make pred_mask.
        post_processor: anomalib's, or True for its default: it normalizes scores and maps with
            the labelled validation images. Predicted labels and masks stay flawsight's.
        evaluator: see anomalib.
        visualizer: see anomalib.
        **options: `settings`, `reference`, `adapter`, `device`, `threshold` … of
            `Inspector.from_pretrained`.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        map_threshold: float = MAP_THRESHOLD,
        post_processor: Any = False,
        evaluator: Any = True,
        visualizer: Any = True,
        **options: Any,
    ) -> None:
        # False: no pre-processor, since the Inspector resizes and normalizes.
        super().__init__(False, post_processor, evaluator, visualizer)
        # Not a Module, so Lightning neither moves nor saves it.
        self.inspector = Inspector.from_pretrained(model, **options)
        self.map_threshold = map_threshold

    def val_dataloader(self) -> list[Any]:
        """Return no data: `Engine.predict(data_path=…)` validates without a data module."""
        return []

    def validation_step(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Inspect a batch for the post-processor, if there is one."""
        return batch if self.post_processor is None else self.predict_step(batch)

    def test_step(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Inspect a batch."""
        return self.predict_step(batch)

    def predict_step(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Inspect a batch."""
        arrays = list(batch.image.float().permute(0, 2, 3, 1).cpu().numpy())
        outcomes: list[Inspection | FlawsightError] = []
        for start in range(0, len(arrays), self.inspector.batch_size):
            outcomes += self.inspector.inspect_batch(
                arrays[start : start + self.inspector.batch_size]
            )
        names = batch.image_path or [f"image {index}" for index in range(len(arrays))]
        flat = np.zeros(batch.image.shape[-2:], np.float32)
        rows = []
        for name, outcome in zip(names, outcomes, strict=True):
            if isinstance(outcome, FlawsightError):
                logger.warning("%s has no answer and is predicted defective: %s", name, outcome)
                rows.append((0.5, True, flat, str(outcome)))
            else:
                score, label = outcome.pred_score, outcome.pred_label
                rows.append((score, label, outcome.anomaly_map, outcome.explanation))
        scores, labels, maps, explanations = map(list, zip(*rows, strict=True))
        stacked, device = np.stack(maps)[:, None], batch.image.device
        return batch.update(
            pred_score=torch.tensor(scores, device=device),
            pred_label=torch.tensor(labels, device=device),
            anomaly_map=torch.from_numpy(stacked).to(device),
            pred_mask=torch.from_numpy(mask_of(stacked, self.map_threshold)).to(device),
            explanation=explanations,
        )

    def configure_optimizers(self) -> None:
        """Nothing is optimized."""

    @property
    def learning_type(self) -> LearningType:
        """Zero-shot, or few-shot with a reference of good photos."""
        few = self.inspector.reference is not None
        return LearningType.FEW_SHOT if few else LearningType.ZERO_SHOT

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """The Trainer needs nothing special."""
        return {}

    @staticmethod
    def configure_post_processor() -> Any:
        """Return anomalib's default."""
        from anomalib.post_processing import PostProcessor

        return PostProcessor()
