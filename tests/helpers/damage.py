"""Damage to files as hypothesis draws it: bytes flipped, cut or swapped, values of other types."""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["../x", "/", "maps", "photos/shared.jpg", "\ud800", "a\0"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def damage(data: st.DataObject, path: Path, lines: bool = False) -> None:
    """Damage a file; of `lines`, each is JSON of its own."""
    content = path.read_bytes()
    if path.suffix.startswith(".json") and data.draw(st.booleans(), label="of other type"):
        values = [json.loads(line) for line in content.splitlines()] if lines else [
            json.loads(content)]  # fmt: skip
        part: Any = data.draw(st.sampled_from(values))
        while True:
            keys = list(part) if isinstance(part, dict) else list(range(len(part)))
            key = data.draw(st.sampled_from(keys))
            if not part[key] or not isinstance(part[key], dict | list) or data.draw(st.booleans()):
                break
            part = part[key]
        part[key] = data.draw(VALUES)
        path.write_text("".join(json.dumps(value) + "\n" for value in values))
    elif content:
        start = data.draw(st.integers(0, len(content) - 1))
        end = data.draw(st.integers(start, len(content)))
        put = data.draw(st.binary(max_size=4) | st.just(content[start:end][::-1]))
        path.write_bytes(content[:start] + put + content[end:])
