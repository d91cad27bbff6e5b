"""What MkDocs calls to build the site: pages of docs/ as they are, and pages made by code.

index.md, contributing.md, changelog.md    files of the repository's root
how-it-works.md, gallery.md, notebooks.md  pages/, with pictures that the code draws
command-line.md                            of the Typer app
python/*.md                                of the docstrings
"""

import re
from pathlib import Path
from typing import Any

import latex2mathml.converter
from api_pages import API_PAGES, api_page
from command_line import command_line_page
from equations import equation_figures
from gallery import gallery_files
from links import FILES, ROOT, TAKEN, linked_files, relocated, source_of
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

OWN = Path(__file__).parent
# What a browser would load from another host. Links that a reader follows are none.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//"""
    r"""|<link\b(?![^>]*\brel=["']?(?:canonical|alternate))[^>]*\bhref=["']?(?:https?:)?//"""
    r"""|@import\s+["'](?:https?:)?//|url\(["']?(?:https?:)?//""",
    flags=re.IGNORECASE,
)


def on_config(config: Any) -> Any:
    """Offer other versions on the page if mike builds it, which keeps them."""
    if "mike" in config.plugins:
        config.extra["version"] = {"provider": "mike"}
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add what the code makes."""

    def add(path: str, content: str | bytes) -> None:
        files.append(File.generated(config, path, content=content))

    for source, page in TAKEN.items():
        add(page, (ROOT / source).read_text(encoding="utf-8"))
    for path in OWN.glob("pages/*.md"):
        add(path.name, path.read_text(encoding="utf-8"))
    for path in OWN.glob("assets/*"):
        add(f"assets/{path.name}", path.read_bytes())
    add("command-line.md", command_line_page())
    for name in API_PAGES:
        add(f"python/{name}.md", api_page(name))
    for name, content in equation_figures().items():
        add(f"figures/{name}", content)
    for name, content in gallery_files().items():
        add(f"gallery/{name}", content)
    for linked in linked_files():
        add(f"{FILES}/{linked}", (ROOT / linked).read_bytes())
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Set equations and figures, and let links lead where their targets are on the site."""
    source = source_of(page.file.src_uri)
    if source == "docs/log.md":
        page.meta["search"] = {"exclude": True}
    if source is None:
        return with_figures(with_equations(markdown))
    return relocated(markdown, source, page.file.src_uri)


def on_post_build(config: Any) -> None:
    """Check that no page loads anything from another host.

    Raises:
        PluginError: if one does.
    """
    for path in Path(config.site_dir).rglob("*"):
        if path.suffix not in (".html", ".css") or FILES in path.parts:
            continue
        if found := _LOADED.search(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path} loads something from elsewhere: {found[0]}")


def with_equations(markdown: str) -> str:
    """Return Markdown whose $$…$$ and $…$ are MathML, which browsers show without a script."""

    def converted(found: re.Match[str]) -> str:
        display = "block" if found[1] else "inline"
        return str(latex2mathml.converter.convert(found[1] or found[2], display=display))

    return re.sub(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", converted, markdown)


def with_figures(markdown: str) -> str:
    """Return Markdown whose ![…](figure:NAME) is the figure for light and for dark pages."""
    return re.sub(
        r"!\[([^\]]+)\]\(figure:([\w-]+)\)",
        r"![\1](figures/\2-light.png#only-light)\n![\1](figures/\2-dark.png#only-dark)",
        markdown,
    )
