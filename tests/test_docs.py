"""Runs what README.md and docs/ tell people to type: python blocks, and medaka-kd lines in console blocks.

The blocks of a page run one after the other in one empty folder, the python ones in one namespace, so that a page
can tell a story. ``<!-- not run -->`` (a reason may follow inside) in the line above a block leaves it out; so do
languages other than ``python`` and ``console``, and lines of a console block that do not begin with ``$ medaka-kd``.
They are run in this process: importing torch once a command would take a minute.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from napari_medaka_kd.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if page.exists()]
BLOCK = re.compile(
    r"(?P<skip><!-- not run[^>]*-->\s*?\n)?^```(?P<language>python|console)\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    language: str
    code: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    for found in BLOCK.finditer(text):
        if not found["skip"]:
            yield Block(found["language"], found["code"], text.count("\n", 0, found.start("code")) + 1)


def commands(code: str) -> list[list[str]]:
    joined = code.replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in joined if line.startswith("$ medaka-kd")]


def run_block(block: Block, page: Path, names: dict[str, object]) -> None:
    if block.language == "python":
        exec(compile("\n" * (block.line - 1) + block.code, page, "exec"), names)
        return
    for command in commands(block.code):
        done = CliRunner().invoke(app, command[1:])
        assert done.exit_code == 0, f"{page.name}:{block.line} {shlex.join(command)}\n{done.output}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_says_to_type_works(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(page.read_text("utf-8")):
        run_block(block, page, names)


def test_blocks_are_found_and_left_out_as_marked() -> None:
    skipped = "<!-- not run: takes hours -->\n```console\n$ medaka-kd demo\n```\n"
    text = f"# A\n```python\nx = 1\n```\n{skipped}```text\nno\n```\n"
    assert list(blocks(text)) == [Block("python", "x = 1\n", 3)]


def test_only_lines_for_our_command_are_run_and_joined() -> None:
    code = "$ git clone somewhere\n$ medaka-kd init a \\\n    --organs b  # two\nOutput of it\n$ medaka-kd status a\n"
    assert commands(code) == [["medaka-kd", "init", "a", "--organs", "b"], ["medaka-kd", "status", "a"]]
