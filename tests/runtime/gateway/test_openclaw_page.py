"""The page on OpenClaw: what it shows is understood by the gateway, by our importer and by the command line."""

import json
import re
import shlex
from pathlib import Path

import yaml

from router_runtime.cli.main import _parser as pointsman_parser
from router_runtime.gateway.asking import model_options
from router_runtime.importing.relaxed_json import plain
from router_runtime.registry_reader import load_registry
from tests.conftest import ROOT

PAGE: Path = ROOT / "router_runtime" / "gateway" / "OPENCLAW.md"


def fenced(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_every_model_that_it_names_may_be_asked_for() -> None:
    (text,) = fenced("json5")
    shown = yaml.safe_load(plain(text))
    registry = load_registry()
    ids = [model["id"] for model in shown["models"]["providers"]["pointsman"]["models"]]
    assert {"agent/coding", "agent/auto", "auto"} <= set(ids)
    for name in ids:
        assert model_options(name, registry) is not None
    named = re.findall(r'"pointsman/([^"]+)"', json.dumps(shown))
    assert set(named) <= set(ids)
    assert len(named) == 4


def test_its_commands_would_start() -> None:
    lines = [line for block in fenced("sh") for line in block.splitlines()]
    assert len(lines) == 4
    for line in lines:
        words = shlex.split(line)
        assert pointsman_parser().parse_args(words[1:]).run
