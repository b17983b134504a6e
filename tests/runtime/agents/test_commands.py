"""``pointsman agents`` and ``pointsman memory``."""

import json
from pathlib import Path
from typing import Any

from router_runtime.cli.main import main


def run(capsys: Any, *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_agents_are_listed_and_matched(capsys: Any) -> None:
    found = run(capsys, "agents", "list")["agents"]
    assert [one["name"] for one in found] == ["coding", "vision", "classifier", "terminal"]
    assert found[0]["fallbacks"] == ["gpt-5.5", "gemini-3.1-pro"]
    match = run(capsys, "agents", "match", "refactor this python function", "--tier", "pro")
    assert match["name"] == "coding"
    assert main(["agents", "match", "refactor this python function", "--tier", "free"]) == 0
    assert "is for the tiers enterprise, pro" in capsys.readouterr().out
    assert main(["agents", "list"]) == 0
    assert "claude-opus-4.7 → gpt-5.5" in capsys.readouterr().out


def test_memory_is_written_found_and_forgotten(capsys: Any, tmp_path: Path) -> None:
    store = ("--store", str(tmp_path / "m.sqlite"))
    key = run(capsys, "memory", "write", "The login form is broken", *store, "--agent", "coding", "--tag", "bug")["id"]
    (hit,) = run(capsys, "memory", "search", "broken form", *store, "--agent", "vision")["found"]
    assert (hit["entry"]["id"], hit["entry"]["tags"]) == (key, ["bug"])
    assert main(["memory", "search", "broken form", *store, "--agent", "vision", "--by", "terminal"]) == 0
    assert capsys.readouterr().out == "nothing was found\n"
    assert run(capsys, "memory", "forget", key, *store, "--agent", "coding") == {"forgotten": 1}
    assert main(["memory", "forget", *store, "--agent", "coding"]) == 1
    assert "or --everything for all that the agent wrote" in capsys.readouterr().err
    assert main(["memory", "write", "x", *store, "--agent", "nobody"]) == 1
    assert capsys.readouterr().err == "pointsman: no agent 'nobody' in the registry\n"
