"""The documentation is run: every Python block, every `ringlight` command, every link between its pages.

Each page runs in order, its blocks sharing their names, in one temporary folder. In a `console` block commands start
with `$ ` and the rest is what they print; in a `bash` block every line is a command. A comment before a block changes
that: `<!-- not executed: the reason -->` leaves it out, `<!-- slow -->` leaves it to `make test-slow` (where the whole
page runs again), `<!-- exit 2 -->` says that its last command ends with that code.
"""

from __future__ import annotations

import doctest
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
SHELLS = ("bash", "sh", "shell", "console")
NOT_OURS = ("make", "pip", "git", "cd", "export", "source", "python", "python3", "pytest")
SHELL_SYNTAX = re.compile(r"[|;<>&`]|\$[({\w]")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, text, the line it starts at, and what the comment before it says."""

    language: str
    text: str
    line: int
    left_out: str = ""
    slow: bool = False
    exit_code: int = 0

    @property
    def runs(self) -> bool:
        if self.left_out:
            return False
        return self.language == "python" or (self.language in SHELLS and bool(command_lines(self)))


COMMENTS = r"(?P<comments>(?:^[ ]*<!--(?:(?!-->).)*-->[ ]*\n\s*)*)"
FENCE = re.compile(
    COMMENTS + r"^(?P<indent>[ ]*)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^[ ]*```[ ]*$",
    re.MULTILINE | re.DOTALL,
)


def blocks_of(page: str) -> list[Block]:
    """Read the fenced blocks of a page with the comments that stand before them."""
    found = []
    for match in FENCE.finditer(page):
        comments = re.findall(r"<!--\s*(.*?)\s*-->", match["comments"], re.DOTALL)
        reasons = [comment.partition(":")[2].strip() for comment in comments if comment.startswith("not executed")]
        line = page.count("\n", 0, match.start("text"))
        assert all(reasons), f"line {line}: say why the block is not executed: <!-- not executed: the reason -->"
        codes = [int(comment.removeprefix("exit ")) for comment in comments if re.fullmatch(r"exit \d+", comment)]
        text = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        found.append(
            Block(match["language"], text, line, "".join(reasons), "slow" in comments, codes[0] if codes else 0)
        )
    return found


def command_lines(block: Block) -> list[str]:
    """The commands of a shell block, a line each, without those of other tools: theirs to test."""
    lines = [line.strip() for line in block.text.replace("\\\n", " ").splitlines()]
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    lines = [line for line in lines if line and not line.startswith("#")]
    return [line for line in lines if line.split()[0].rpartition("/")[2] not in NOT_OURS]


def commands(block: Block) -> list[list[str]]:
    """The arguments of each `ringlight` command of a shell block."""
    found = []
    for line in command_lines(block):
        name, *arguments = shlex.split(line, comments=True)
        place = f"line {block.line}: `{line}`"
        assert name == "ringlight", f"{place} cannot be run here: correct it, or say why it is not executed"
        assert not SHELL_SYNTAX.search(line.partition(" #")[0]), f"{place} needs a shell: say so, it is not executed"
        found.append(arguments)
    return found


def expand(arguments: list[str]) -> list[str]:
    """What a shell makes of arguments with wildcards in them."""
    matches = [sorted(map(str, Path().glob(word))) if re.search(r"[*?]", word) else [] for word in arguments]
    return [path for word, paths in zip(arguments, matches, strict=True) for path in paths or [word]]


def run_command(arguments: list[str]) -> int:
    """Run `ringlight` with these arguments inside this process; return its exit code."""
    from ringlight.cli.main import main

    try:
        return main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def run_page(page: Path, *, slow: bool) -> int:
    """Run a page's blocks in order, those marked slow only when asked; return how many ran."""
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if not block.runs or (block.slow and not slow):
            continue
        count += 1
        if block.language == "python":
            run_python(block, names, page)
            continue
        *before, last = commands(block)
        for arguments, expected in [*((other, 0) for other in before), (last, block.exit_code)]:
            code = run_command(expand(arguments))
            assert code == expected, f"{page.name}:{block.line}: `ringlight {shlex.join(arguments)}` ended with {code}"
    return count


def run_python(block: Block, names: dict[str, Any], page: Path) -> None:
    """Run statements as they are, and a block of `>>>` lines as a doctest."""
    if block.text.lstrip().startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(block.text, names, page.name, str(page), block.line)
        report: list[str] = []
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append, clear_globs=False)
        names.update(test.globs)
        assert not report, "".join(report)
        return
    # The empty lines let a traceback point into the page.
    exec(compile("\n" * block.line + block.text, str(page), "exec"), names)


def pages(*, slow: bool) -> list[Any]:
    """The pages with something to run."""
    found = []
    for page in PAGES:
        blocks = [block for block in blocks_of(page.read_text(encoding="utf-8")) if block.runs]
        wanted = any(block.slow for block in blocks) if slow else any(not block.slow for block in blocks)
        if wanted:
            found.append(pytest.param(page, id=page.relative_to(PROJECT).as_posix()))
    return found


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", pages(slow=False))
def test_the_quick_blocks_of_a_page_run(page, elsewhere):
    assert run_page(page, slow=False) > 0


@pytest.mark.slow
@pytest.mark.parametrize("page", pages(slow=True))
def test_the_whole_page_runs(page, elsewhere):
    assert run_page(page, slow=True) > 0


def test_the_readme_is_run():
    assert any(block.runs for block in blocks_of((PROJECT / "README.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", [pytest.param(page, id=page.relative_to(PROJECT).as_posix()) for page in PAGES])
def test_links_lead_to_files_that_are_there(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


PAGE = """
```bash
make demo                # not ours
ringlight train neu \\
  loss.gamma=2.0         # a comment
```

<!-- slow -->
<!-- exit 2 -->
```console
$ ringlight data check tiles
3 files
```

<!-- not executed: needs a GPU -->
```python
raise SystemExit
```

  ```python
  total = 1 + 1
  ```

```text
ringlight is only named here
```
"""


def test_blocks_are_read_with_their_comments():
    shell, console, left_out, indented, text = blocks_of(PAGE)
    assert commands(shell) == [["train", "neu", "loss.gamma=2.0"]]
    assert commands(console) == [["data", "check", "tiles"]]
    assert (console.slow, console.exit_code) == (True, 2)
    assert (left_out.left_out, left_out.runs) == ("needs a GPU", False)
    assert indented.text == "total = 1 + 1\n"
    assert PAGE.splitlines()[indented.line] == "  total = 1 + 1"
    assert not text.runs


def test_wildcards_find_what_earlier_commands_wrote(elsewhere):
    Path("a b.png").touch()
    Path("c.png").touch()
    assert expand(["predict", "model", "*.png", "none/*.png"]) == ["predict", "model", "a b.png", "c.png", "none/*.png"]


def test_python_blocks_share_their_names(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\na = 2\n```\n\n```python\n>>> a + 1\n3\n>>> b = a\n```\n\n```python\nassert b == 2\n```\n"
    )
    assert run_page(page, slow=False) == 3


def test_a_wrong_result_on_a_page_fails(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\n>>> 1 + 1\n3\n```\n")
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2"):
        run_page(page, slow=False)


def test_a_block_left_out_needs_a_reason():
    with pytest.raises(AssertionError, match="say why the block is not executed"):
        blocks_of("<!-- not executed -->\n```python\n1\n```\n")


@pytest.mark.parametrize("line", ["ringlght train neu", "ringlight doctor | head", "ringlight train $RECIPE"])
def test_a_command_that_cannot_be_run_is_refused(line):
    """A misspelt command in the documentation would otherwise be left out in silence."""
    (block,) = blocks_of(f"```bash\n{line}\n```\n")
    with pytest.raises(AssertionError, match="line 1"):
        commands(block)
