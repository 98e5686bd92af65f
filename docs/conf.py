"""The documentation as a site: `make docs`. The Markdown stays as it is read elsewhere, too.

The navigation is that of the tables in `docs/README.md`, a section each; `docs/decisions/README.md`
lists its own pages. A link to a page, a heading or a file that is not there fails the build.
"""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

project = "Breezeway"
extensions = ["myst_parser"]
root_doc = "docs/README"
include_patterns = ["docs/**.md", "*.md"]
exclude_patterns = [".*", "bench", "dags", "dist", "docker", "helm", "include", "plugins", "tests"]
"""Sphinx looks into every folder that it is not told to leave out; `.venv` has 100,000 files."""
myst_heading_anchors = 4
html_theme = "furo"
html_title = "Breezeway"
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # a browser fetches no summaries from files
html_show_sphinx = False

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)\)")
"""Of a whole page or file; pictures and places within a page are none."""
LISTED = re.compile(r"^\| \[[^\]]+\]\(([^)#\s]+)\.md\)", re.M)
"""A page that is named in the first column of a table."""
PLACES = ("docs/README", "docs/decisions/README")


def prepare(app: Any, name: str, text: list[str]) -> None:
    """Before a page is parsed: folders have no page to link to, and lists become navigation."""
    here = (ROOT / name).parent

    def without_folders(link: re.Match[str]) -> str:
        return link[1] if (here / link[2]).is_dir() else link[0]

    text[0] = LINK.sub(without_folders, text[0])
    text[0] = text[0].replace("\n```csv\n", "\n```text\n")  # Pygments does not know it
    if name in PLACES:
        text[0] += "".join(
            f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{pages}\n```\n"
            for title, pages in sections(text[0])
        )


def sections(text: str) -> list[tuple[str, str]]:
    """Heading → the pages that the table below it lists, one a line."""
    parts = re.split(r"^#+ (.+)$", text, flags=re.M)[1:]
    listed = zip(parts[::2], (LISTED.findall(part) for part in parts[1::2]), strict=True)
    return [(title, "\n".join(pages)) for title, pages in listed if pages]


def setup(app: Any) -> None:
    app.connect("source-read", prepare)
