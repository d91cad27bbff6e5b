"""Names of results, for any photo's name and on any system."""

import re

from hypothesis import given
from hypothesis import strategies as st

from flawsight.io.files import portable_name, slug

# Of Windows, MAX_PATH aside: learn.microsoft.com/windows/win32/fileio/naming-a-file
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\.|$)", re.IGNORECASE)
NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1).filter(
    lambda name: name not in (".", "..")
)


@given(st.lists(NAMES, min_size=1, max_size=20, unique=True))
def test_every_name_has_a_result_of_its_own(names: list[str]) -> None:
    slugs = [slug(name) for name in names]
    assert len({one.lower() for one in slugs}) == len(names)
    for one in slugs:
        assert re.fullmatch(r"[A-Za-z0-9_-]{17,57}", one)


@given(st.lists(NAMES | st.sampled_from(["aux.png", "CON", "nul", "a.", "b ", "x" * 252]),
                min_size=1, max_size=4))  # fmt: skip
def test_a_result_has_the_photos_name_if_all_systems_take_it(parts: list[str]) -> None:
    name = "/".join(parts)
    result = portable_name(name, ".png").split("/")
    assert len(result) == len(parts)
    for one, part in zip(result, [*parts[:-1], f"{parts[-1]}.png"], strict=True):
        assert len(one.encode(errors="surrogatepass")) <= 255
        assert not RESERVED.match(one)
        assert not one.endswith((".", " "))
        assert one == part or re.search(r"-[0-9a-f]{16}(\.png)?$", one)
    if all(re.fullmatch("[a-z]{4,9}", part) for part in parts):
        assert "/".join(result) == f"{name}.png"
