"""Similarity of an explanation to a reference text: of words (ROUGE-L) and meaning (SBERT)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError, ModelError

Array = NDArray[np.float64]


def rouge_scorer() -> Any:
    """Return the scorer of rouge-score.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingExtraError("rouge-score", "bench") from error
    return RougeScorer(["rougeL"], use_stemmer=True)


def rouge_l(predictions: Sequence[str], references: Sequence[str]) -> Array:
    """Return the F-measure of the longest common subsequence of words, (n,) in [0, 1].

    As in rouge-score: lower case, Porter stemming, words of a–z and 0–9 only; a text without any
    such word scores 0.

    Raises:
        MissingExtraError: if rouge-score is not installed.
    """
    scorer = rouge_scorer()
    pairs = zip(predictions, references, strict=True)
    return np.array(
        [scorer.score(reference, text)["rougeL"].fmeasure for text, reference in pairs], np.float64
    )


def sbert(predictions: Sequence[str], references: Sequence[str], model: str) -> Array:
    """Return the cosine of the sentence embeddings of each pair, (n,) in [-1, 1].

    Args:
        predictions: (n,) texts; the model truncates long ones.
        references: (n,) texts.
        model: name or folder of a sentence-transformers model.

    Raises:
        MissingExtraError: if sentence-transformers is not installed.
        ModelError: if the model cannot be loaded.
    """
    encoder = sentence_encoder(model)
    embeddings = encoder.encode(
        [*predictions, *references], normalize_embeddings=True, show_progress_bar=False
    )
    left, right = np.split(np.asarray(embeddings, np.float64), 2)
    return np.asarray(np.clip((left * right).sum(axis=1), -1.0, 1.0))


@lru_cache(maxsize=1)  # one model serves all rows of a table
def sentence_encoder(model: str) -> Any:
    """Return a sentence-transformers model.

    Raises:
        MissingExtraError: if sentence-transformers is not installed.
        ModelError: if the model cannot be loaded.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError("sentence-transformers", "sbert") from error
    try:
        return SentenceTransformer(model)
    except Exception as error:  # a wrong name or folder makes the libraries raise nearly anything
        raise ModelError(
            f"Cannot load the sentence model {model}: {error}. Give the folder of one, or a name "
            "that can be downloaded."
        ) from error
