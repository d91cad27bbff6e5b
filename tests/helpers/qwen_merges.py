"""The tokenizer that Qwen publishes, made from the ranks that the package dashscope carries."""

import base64
from functools import cache
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path

from transformers import Qwen2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from .checkpoints import with_special_tokens


def _halves(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """Return the two parts that byte-pair encoding joins last into a token."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, len(ranks)) for a, b in pairwise(parts)]
        first = min(range(len(pairs)), key=pairs.__getitem__)
        parts[first : first + 2] = [parts[first] + parts[first + 1]]
    return parts[0], parts[1]


@cache
def qwen_tokenizer() -> Qwen2Tokenizer:
    path = Path(str(distribution("dashscope").locate_file("dashscope/resources/qwen.tiktoken")))
    lines = (line.split() for line in path.read_bytes().splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    letters = bytes_to_unicode()

    def name(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = [
        tuple(map(name, _halves(token, ranks)))
        for token, _ in sorted(ranks.items(), key=lambda item: item[1])
        if len(token) > 1
    ]
    vocabulary = {name(token): rank for token, rank in ranks.items()}
    return with_special_tokens(vocabulary, merges)
