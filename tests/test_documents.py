"""The documents tell the truth: commands exist, links lead somewhere, the tree is the tree."""

import re
import shlex
from pathlib import Path

import pytest

from resing import cli

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def commands() -> list[str]:
    lines = [line.strip() for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()]
    found = {line for line in lines if line.startswith("resing ") and " | " not in line}
    return sorted(line.split(" #")[0] for line in found)


def test_the_readme_has_its_two_commands() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target} " in readme
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("command", commands())
def test_every_command_in_the_documents_parses(command: str) -> None:
    words = [w.strip("`.,;[]") for w in shlex.split(command)[1:]]
    cli.app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_tree_in_the_readme_is_there() -> None:
    text = (ROOT / "README.md").read_text()
    tree = text[text.index("src/resing/\n") :].split("```")[0]
    room = ROOT
    for line in tree.splitlines():
        names = line.split("  ")[0] if not line.startswith(" ") else line.strip().split("  ")[0]
        for name in names.split(", "):
            base = ROOT / "src" / "resing" if line.startswith(" ") else room
            assert list(base.glob(name.rstrip("/"))), f"{name} of the README's tree is missing"
