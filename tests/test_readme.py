"""README.md does what it says: its Python runs, its commands and targets exist with the options shown.

Blocks fenced `python` run, all in order and in one namespace; those fenced `python no-run` need the network and are
only read.
"""

import ast
import contextlib
import importlib.util
import io
import re
import shlex
import shutil
from dataclasses import fields, is_dataclass
from typing import NamedTuple

import pytest

from router_runtime import Router
from router_runtime.chat import ChatChunk
from router_runtime.cli.main import _parser as pointsman_parser
from router_runtime.execution.settings import Completion
from router_runtime.registry_reader import DEFAULT_REGISTRY
from tests.conftest import ROOT
from training import cli

README = ROOT / "README.md"
_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```\s*$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(make [a-z][a-z-]*|pointsman [a-z][a-z-]*|python -m [a-z_.]+ [a-z-]+)[^`]*`")
_SHELLS = ("sh", "bash", "console")


class Block(NamedTuple):
    """A fenced block and the line of README.md that its text begins on."""

    info: str
    body: str
    line: int


def blocks():
    text = README.read_text(encoding="utf-8")
    return [
        Block(" ".join(found["info"].split()), found["body"], text.count("\n", 0, found.start("body")) + 1)
        for found in _FENCE.finditer(text)
    ]


def of_kind(info):
    return [block for block in blocks() if block.info == info]


def compiled(block, flags=0):
    """The block's code; a traceback names the line of README.md."""
    return compile("\n" * (block.line - 1) + block.body, str(README), "exec", flags=flags)


def words_of(line):
    """The commands of a shell line, each as its words: split at pipes and the like, redirections cut off."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    commands, words, target = [], [], False
    for word in lexer:
        if set(word) <= set("|&;()"):
            commands, words = [*commands, words], []
        elif set(word) <= set("<>"):
            target = True
        elif target:
            target = False
        else:
            words.append(word)
    return [command for command in [*commands, words] if command]


def shown_commands():
    """(place, words) of each command in the shell blocks."""
    found = []
    for block in blocks():
        if block.info.split(" ")[0] not in _SHELLS:
            continue
        joined = re.sub(r"\\\n", "  ", block.body)
        for offset, line in enumerate(joined.splitlines()):
            found += [
                (f"README.md, near line {block.line + offset}", words) for words in words_of(line.removeprefix("$ "))
            ]
    return found


def named_commands():
    """Commands that the prose names in backticks, by program and subcommand alone."""
    return [found.split() for found in _INLINE.findall(README.read_text(encoding="utf-8"))]


def make_targets():
    return set(re.findall(r"^([A-Za-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def complaint(words):
    """Why a command as shown would not start, or None; nothing of it is run."""
    if words[0] == "make":
        wanted = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        missing = sorted(set(wanted) - make_targets())
        return f"the Makefile has no target {', '.join(missing)}" if missing else None
    if words[0] == "pointsman":
        return refusal(lambda: pointsman_parser().parse_args(words[1:]))
    if words[:3] == ["python", "-m", "training"]:
        return training_complaint(words[3:])
    if words[:2] == ["python", "-m"]:
        return None if importlib.util.find_spec(words[2]) is not None else f"there is no module {words[2]}"
    return None


def training_complaint(words):
    if words[0] not in cli.COMMANDS:
        return f"there is no such command; known: {', '.join(cli.COMMANDS)}"
    parser = cli.build_parser(words[0], cli.load_command(words[0]))
    return refusal(lambda: parser.parse_args(words[1:]))


def refusal(parse):
    """What argparse said on stderr, where it refused."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            parse()
        except SystemExit as leaving:
            return None if leaving.code == 0 else said.getvalue().strip().splitlines()[-1]
    return None


@pytest.fixture
def home(tmp_path, monkeypatch, bundle_folder):
    """A working directory with what README.md takes for granted: the sample, a registry and a default bundle."""
    shipped = ROOT / "models" / "default"
    shutil.copytree(ROOT / "data" / "sample", tmp_path / "data" / "sample")
    shutil.copytree(
        shipped if (shipped / "manifest.json").is_file() else bundle_folder, tmp_path / "models" / "default"
    )
    shutil.copy(DEFAULT_REGISTRY, tmp_path / "registry.yaml")
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_python_runs(home, capsys):
    running = of_kind("python")
    assert running, "README.md shows no Python that runs"
    namespace = {"__name__": "readme"}
    for block in running:
        exec(compiled(block), namespace)
    assert capsys.readouterr().out.strip(), "the examples print what they find"


NAMED = {"router": Router, "response": Completion, "chunk": ChatChunk}
"""What the names of the examples stand for."""


def test_its_other_python_is_python_and_uses_what_there_is():
    for block in of_kind("python no-run"):
        tree = compiled(block, ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        used = {
            (node.value.id, node.attr)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in NAMED
        }
        unknown = {(name, attribute) for name, attribute in used if attribute not in members(NAMED[name])}
        assert unknown == set(), f"README.md, line {block.line}"


def members(kind):
    """Names of a class's attributes, those that instances alone have too."""
    return {*dir(kind), *(field.name for field in (fields(kind) if is_dataclass(kind) else ()))}


def test_every_fence_is_of_a_known_kind():
    known = {"python", "python no-run", "text", "yaml", "json", "toml", *_SHELLS}
    assert {block.info for block in blocks()} <= known


def test_commands_as_shown_would_start():
    shown = shown_commands()
    assert {"make", "pointsman", "python"} <= {words[0] for _, words in shown}
    wrong = [f"{place}: {shlex.join(words)}: {why}" for place, words in shown if (why := complaint(words))]
    assert wrong == []


def test_commands_named_in_prose_exist():
    for words in named_commands():
        if words[0] == "pointsman":
            words = [*words, "--help"]  # the prose names the command, not its arguments
        elif words[:3] == ["python", "-m", "training"]:
            words = [*words, "--help"]
        assert complaint(words) is None, " ".join(words)


def test_relative_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", README.read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize(
    "words",
    [
        ["make", "no-such-target"],
        ["pointsman", "no-such-command"],
        ["pointsman", "route", "Hi", "--no-such-option"],
        ["python", "-m", "training", "no-such-command"],
        ["python", "-m", "training", "train", "--no-such-option"],
        ["python", "-m", "no_such_module"],
    ],
    ids=" ".join,
)
def test_drift_is_noticed(words):
    assert complaint(words)


def test_a_shell_line_is_read_as_a_shell_reads_it():
    line = "git diff | pointsman explain - --tier pro > out.txt && make demo  # sets up"
    assert words_of(line) == [["git", "diff"], ["pointsman", "explain", "-", "--tier", "pro"], ["make", "demo"]]
