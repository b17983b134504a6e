import argparse
import io
import json
import subprocess
import sys

import pytest

from router_runtime.cli import main
from router_runtime.cli.serving import _unlearnt
from router_runtime.registry_reader import DEFAULT_REGISTRY
from tests.conftest import ROOT


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "state"))

    def call(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_route_prints_one_json_document(run, bundle_folder):
    code, out, err = run("route", "Why?", "--bundle", bundle_folder, "--json", "--seed", 1, "--tier", "pro")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["kind"] == "decision"
    assert document["tier"] == "pro"
    assert sum(c["probability"] for c in document["candidates"]) == pytest.approx(1.0)


def test_route_reads_stdin(run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9 " * 1000)))
    code, out, _ = run("route", "-", "--json")
    assert code == 0
    assert json.loads(out)["candidates"][0]["input_tokens"] > 1000


def test_explain_is_readable_in_100_columns(run, bundle_folder):
    code, out, _ = run(
        "explain", "alpha why", "--bundle", bundle_folder, "--tier", "free", "--intent", "extract_invoice"
    )
    assert code == 0
    assert all(len(line) <= 100 for line in out.splitlines())
    assert out.isascii()
    for words in ("choice", "filtered out", "not in the tier free", '"alpha"', "what moved it"):
        assert words in out
    code, out, _ = run("explain", "alpha why", "--bundle", bundle_folder, "--json", "--top", 2)
    assert len(json.loads(out)["influences"]) == 2


def test_control_characters_do_not_reach_the_terminal(run, bundle_folder):
    code, out, _ = run("explain", "a\x1b[31mb", "--label", "\x1b[2J", "--bundle", bundle_folder)
    assert code == 0
    assert "\x1b" not in out


def test_validate(run, registry_file):
    code, out, _ = run("validate", registry_file)
    assert code == 0
    assert "is valid: 5 providers, 5 models" in out
    registry_file.write_text(registry_file.read_text().replace("tiers:", "teirs:"))
    code, out, err = run("validate", registry_file, "--json")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "did you mean 'tiers'" in err


def test_disable_status_enable(run):
    code, out, _ = run("disable", "opus", "--for", "30s", "--json")
    assert code == 0
    assert json.loads(out)["model"] == "claude-opus-4.7"
    _, out, _ = run("status")
    assert "disabled until 20" in out
    _, out, _ = run("route", "x", "--json")
    assert json.loads(out)["filtered"]["claude-opus-4.7"].startswith("disabled until")
    assert run("disable", "gpt-5.5")[0] == 0
    _, out, _ = run("status", "--json")
    models = json.loads(out)["models"]
    assert [name for name, m in models.items() if not m["enabled"]] == ["gpt-5.5", "claude-opus-4.7"]
    assert models["gpt-5.5"]["disabled_until"] is None
    assert "is enabled" in run("enable", "opus")[1]
    assert "was not disabled" in run("enable", "opus")[1]


def test_a_flag_takes_out_all_that_carry_it(run, registry_file):
    text = registry_file.read_text()
    for model in ("gpt-5.5", "gemini-3.1-pro"):
        text = text.replace(f"  {model}:\n", f"  {model}:\n    flags: [preview]\n", 1)
    registry_file.write_text(text)
    assert run("disable", "gpt-5.5", "--for", "10s", "--registry", registry_file)[0] == 0
    code, out, _ = run("disable", "flag:preview", "--for", "1m", "--json", "--registry", registry_file)
    assert code == 0
    assert json.loads(out)["flag"] == "preview"
    filtered = json.loads(run("route", "x", "--json", "--registry", registry_file)[1])["filtered"]
    assert set(filtered) == {"gpt-5.5", "gemini-3.1-pro"}
    assert all(reason.startswith("disabled with the flag preview until 20") for reason in filtered.values())
    assert "preview off until 20" in run("status", "--registry", registry_file)[1]
    assert "was not disabled" not in run("enable", "flag:preview", "--registry", registry_file)[1]
    assert list(json.loads(run("route", "x", "--json", "--registry", registry_file)[1])["filtered"]) == ["gpt-5.5"]
    found = json.loads(run("status", "--json", "--registry", registry_file)[1])
    assert found["flags"] == {"preview": {"on": True, "off_until": None}}
    assert "did you mean 'flag:preview'" in run("disable", "flag:previw", "--registry", registry_file)[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "nowhere.yaml"],
        ["route", "x", "--registry", "nowhere.yaml"],
        ["route", "x", "--bundle", "nowhere"],
        ["route", "x", "--tier", "nobody"],
        ["route", "x", "--max-cost", "0", "--model", "opus"],
        ["disable", "nobody"],
        ["status", "--bundle", "nowhere"],
    ],
)
def test_a_refusal_is_one_line_and_1(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("pointsman: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["route"],
        ["route", "x", "--trade-off", "2"],
        ["disable", "opus", "--for", "soon"],
        ["disable", "opus", "--for", "999999999d"],
        ["disable", "opus", "--state", "http://localhost/"],
        ["keys", "list", "--state", ""],
        ["route", "x", "--max-cost", "nan"],
    ],
)
def test_wrong_usage_is_2(run, arguments):
    code, out, _ = run(*arguments)
    assert (code, out) == (2, "")


@pytest.mark.parametrize("command", ["route", "explain", "validate", "disable", "enable", "status"])
def test_help_shows_an_example(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"pointsman {command}" in out.split("example:")[1]


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("status --json > /dev/full", 1, "pointsman: No space left on device\n"),
        ("status --json | true", 0, ""),
        ("validate router_runtime/registry.yaml >&-", 0, ""),
        ("pull http://127.0.0.1:1 --out /dev/null/x", 1, "pointsman: "),
        (
            "serve --insecure-local --log README.md",
            1,
            "pointsman: the log README.md cannot be written: Not a directory\n",
        ),
        ("serve --insecure-local --state README.md/x", 1, "pointsman: README.md/x: Not a directory\n"),
    ],
)
def test_places_that_cannot_be_written_are_one_line(command, status, words):
    shell = f"{sys.executable} -m router_runtime.cli {command}"
    done = subprocess.run(["sh", "-c", shell], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == bool(words)


def test_an_end_beyond_all_dates_is_shown_as_none(run, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "disabled.json").write_text('{"disabled": {"gpt-5.5": 8e13}}')
    code, out, _ = run("status")
    assert code == 0
    assert "disabled until it is enabled" in out


def test_a_spoilt_state_file_is_named(run, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "disabled.json").write_text("[1]")
    code, _, err = run("status")
    assert code == 1
    assert "disabled.json is not a list of disabled models" in err


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "router_runtime.cli", "validate", str(DEFAULT_REGISTRY), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)


def test_its_version(run):
    status, out, _ = run("--version")
    assert (status, out.split()[0]) == (0, "pointsman")


def test_the_labels_of_a_decision_are_told_whole(run):
    words = ["code", "reasoning", "translation", "extraction", "classification", "knowledge", "vision"]
    status, out, _ = run("route", "Hello", *(part for word in words for part in ("--label", word)))
    assert status == 0
    assert f"labels    {', '.join(words)}\n" in out


def test_a_misspelt_log_or_memory_is_not_made(run, tmp_path):
    log, memory = tmp_path / "logz", tmp_path / "memroy.sqlite"
    for command, words in (
        (("feedback", "0192", "--score", "1", "--log", str(log)), "logz is no folder; name the one that --log"),
        (("memory", "search", "x", "--store", str(memory), "--agent", "coding"), "no memory at"),
        (("memory", "forget", "--everything", "--store", str(memory), "--agent", "coding"), "no memory at"),
    ):
        status, out, err = run(*command)
        assert (status, out) == (1, "")
        assert words in err
    assert list(tmp_path.glob("logz")) == list(tmp_path.glob("mem*")) == []


def test_a_key_is_all_that_stdout_gets(run, tmp_path):
    status, out, err = run("keys", "create", "--name", "app", "--state", str(tmp_path / "state"))
    assert status == 0
    assert out.startswith("pm-")
    assert out.count("\n") == 1
    assert "only its hash is kept" in err


@pytest.mark.parametrize(
    ("log", "prompts", "words"),
    [
        ("logs", "none", "no router can learn"),
        (None, "redacted", "keeps nothing without --log"),
        ("logs", "full", None),
    ],
)
def test_serving_says_where_nothing_could_be_learnt(log, prompts, words):
    said = _unlearnt(argparse.Namespace(log=log, log_prompts=prompts))
    assert ([] if words is None else [True]) == [words in line for line in said]
