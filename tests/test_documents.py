"""What the documents name is there: paths, commands with their options, links, and the README's Python runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from arseg_edge.cli import cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs/experiments.md",
    "docs/your-own-network.md",
    "arseg_edge/demo.md",
)
SOURCES = ("arseg_edge", "export", "runtime", "benchmarks", "samples", "tools")

_PATH = re.compile(r"[\w./-]*(?:/|\.(?:py|cc|h|md|toml|jpg|png|mp4|sh|arseg))")
MADE_BY_READERS = (
    "runs/",
    "maps/",
    "street.arseg",
    "mine.arseg",
    "drives/",
    "mynet.py",
    "drive.mp4",
    "street-labels.mp4",
    "NAME.",
    "OLD.",
)
"""Names that a document gives to what its reader has or makes."""


def paths_of(line: str, quotes: str) -> Iterator[str]:
    """Yield what stands in quotes and looks like a path of the project."""
    for quoted in re.findall(rf"(?<!`){quotes}([^`\s]+){quotes}(?!`)", line):
        if _PATH.fullmatch(quoted) and not quoted.startswith(("/", ".", *MADE_BY_READERS)):
            yield quoted


def is_there(path: str, folders: list[Path]) -> bool:
    return any((folder / path).exists() for folder in folders)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_in_documents_exist(document: str) -> None:
    missing = []
    for number, line in enumerate((ROOT / document).read_text().splitlines(), 1):
        found = list(paths_of(line, "`"))
        # In a row of a table a folder stands before the files in it.
        folders = [ROOT, ROOT / "arseg_edge", *(ROOT / each for each in found if (ROOT / each).is_dir())]
        missing += [f"{document}:{number}: {each}" for each in found if not is_there(each, folders)]
    assert not missing


def test_paths_in_docstrings_exist() -> None:
    missing, seen = [], 0
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix not in {".py", ".cc", ".h"}:
                continue
            quotes = "``" if file.suffix == ".py" else "`"
            folders = [ROOT, ROOT / "arseg_edge", ROOT / "runtime", ROOT / "export", *file.parents]
            for number, line in enumerate(file.read_text().splitlines(), 1):
                for path in paths_of(line, quotes):
                    if "/" in path and path.endswith((".py", ".cc", ".h", ".md")):
                        seen += 1
                        if not is_there(path, folders):
                            missing.append(f"{file.relative_to(ROOT)}:{number}: {path}")
    assert not missing
    assert seen > 20


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)\)", (ROOT / document).read_text())
    own = [link for link in links if not link.startswith("http")]
    assert [link for link in own if not ((ROOT / document).parent / link).exists()] == []


def commands_of(text: str) -> Iterator[list[str]]:
    """Yield the words of each ``arseg-edge`` command in code."""
    for code in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) + re.findall(
        r"(?<!`)`(arseg-edge [^`]+)`(?!`)", text
    ):
        for line in code.splitlines():
            for command in line.split("#")[0].split("&&"):
                if command.split()[:1] == ["arseg-edge"]:
                    yield command.split()[1:]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_and_their_options_exist(document: str) -> None:
    for words in commands_of((ROOT / document).read_text()):
        command: click.Command = cli
        while isinstance(command, click.Group):
            name, *words = words
            assert name in command.commands, name
            command = command.commands[name]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("-") and word != "-"} <= known, (document, words)


def test_options_that_the_readme_names_exist() -> None:
    known = {
        option
        for command in cli.commands.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    named = set(re.findall(r"`(--[a-z-]+)", (ROOT / "README.md").read_text()))
    assert len(named) > 5
    assert named <= known


def test_the_readme_has_one_test_command() -> None:
    """CI runs it."""
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("pytest")]
    assert lines == ["pytest"]


def test_the_readmes_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    shutil.copy(ROOT / "samples" / "street.mp4", tmp_path / "drive.mp4")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 96
    assert printed[0].split()[1] == "hr"


def test_the_picture_is_of_modest_size() -> None:
    assert (ROOT / "docs" / "road.jpg").stat().st_size < 400_000


def test_the_tests_command_is_what_ci_runs() -> None:
    """The line by which CI finds it in the README."""
    (line,) = re.findall(r"sed -n '(s/.*/p)' README\.md", (ROOT / ".ci" / "run").read_text())
    found = subprocess.run(["sed", "-n", line, "README.md"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert found.stdout == "pytest\n"
