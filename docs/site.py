"""Gathers the site's pages into out/pages: the repository's own files in their places, and pages of the API.

Links stay as they are in the repository, so that they work on both. It knows files, and not how a site is made.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "out" / "pages"

FILES = (
    *("*.md", "LICENSE", "NOTICE"),
    *("docs/*.md", "docs/*.png", "docs/*.svg", "docs/*.json", "docs/inside/*.png"),
    *("examples/*", "examples/node/*.*", "deploy/**/*", "protos/**/*.proto"),
    *("server/vitrine/server/bundled/*.md", "server/vitrine/server/bundled/*.png"),
)
"""The files of the site, by pattern."""

API = {
    "client": ("The client in Python", "vitrine.client"),
    "training": ("Training in Python", "vitrine.training"),
    "model": ("Images and artifacts in Python", "vitrine.model"),
}
"""The title and the package of each page about the API, from the package's docstrings."""


def main() -> None:
    """Makes the folder anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for pattern in FILES:
        for file in ROOT.glob(pattern):
            if file.is_file():
                target = PAGES / file.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
    for name, (title, package) in API.items():
        page = PAGES / "reference" / f"{name}.md"
        page.parent.mkdir(exist_ok=True)
        page.write_text(f"# {title}\n\n::: {package}\n    options:\n      show_root_heading: false\n")


if __name__ == "__main__":
    main()
