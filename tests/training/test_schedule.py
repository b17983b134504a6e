"""The ready-made units: their syntax, and that the commands in them run (``--dry-run``)."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from router_runtime.registry_reader import DEFAULT_REGISTRY
from training.cli import main

UNITS = Path(__file__).resolve().parents[2] / "training" / "schedule"
FIELD = re.compile(r"\*(/\d+)?|\d+(-\d+)?(,\d+(-\d+)?)*")


def unit(name):
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str
    parser.read_string((UNITS / name).read_text())
    return parser


def crontab_lines():
    text = (UNITS / "crontab").read_text().splitlines()
    return [line for line in text if line and not line.startswith("#") and not re.match(r"[A-Z_]+=", line)]


def cronjob():
    return yaml.safe_load((UNITS / "cronjob.yaml").read_text())


def container():
    return cronjob()["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]


def commands():
    """Every ``python -m training`` of the units, as words after ``training``."""
    texts = [unit("pointsman-retrain.service")["Service"]["ExecStart"], *crontab_lines(), container()["command"][2]]
    found = []
    for text in texts:
        line = next(line for line in text.splitlines() if "-m training" in line)
        words = shlex.split(line.split(">>")[0])
        found.append(words[words.index("training") + 1 :])
    return found


def test_all_units_run_the_same_weekly_job():
    weekly = [words for words in commands() if words[0] == "retrain"]
    assert len(weekly) == 3
    plain = [[word for word in words if word != "--quiet"] for words in weekly]
    plain[2] = [container()["env"][0]["value"] if word == "$POINTSMAN_STORE" else word for word in plain[2]]
    assert plain[0] == plain[1] == plain[2]


@pytest.mark.parametrize("number", range(4))
def test_the_commands_run(number, week_log, tmp_path, capsys):
    words = commands()[number]
    places = {
        "--store": f"dir://{week_log}",
        "--registry": str(tmp_path / "registry.yaml"),
        "--out": str(tmp_path / "m"),
    }
    (tmp_path / "registry.yaml").write_text(DEFAULT_REGISTRY.read_text() + "\ncanary: {bundle: next, share: 0.05}\n")
    for option, value in places.items():
        if option in words:
            words[words.index(option) + 1] = value
    assert main([*words, "--until", "2026-04-08", "--dry-run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    if words[0] == "retrain":
        assert document["would"] == "learn and judge a challenger"
    else:
        assert document["withdrawn"] is False
    assert not (tmp_path / "m").exists()


@pytest.fixture(scope="module")
def week_log(tmp_path_factory):
    from tests.training.retrain.weeks import write_log

    return write_log(tmp_path_factory.mktemp("week") / "log")


def test_the_service_and_the_timer_are_valid(tmp_path):
    service, timer = unit("pointsman-retrain.service"), unit("pointsman-retrain.timer")
    assert service["Service"]["Type"] == "oneshot"
    assert service["Service"]["SuccessExitStatus"] == "3"
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert re.fullmatch(r"Mon \*-\*-\* \d\d:\d\d:\d\d UTC", timer["Timer"]["OnCalendar"])
    analyze = shutil.which("systemd-analyze")
    if analyze is None:  # containers have none; the fields above are checked in any case
        return
    for name in ("pointsman-retrain.service", "pointsman-retrain.timer"):
        text = (UNITS / name).read_text().replace("/opt/pointsman/.venv/bin/python", sys.executable)
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [analyze, "verify", *map(str, tmp_path.iterdir())], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_setting_of_the_service_is_one_that_systemd_knows():
    known = {
        "Unit": {"Description", "After", "Wants"},
        "Service": {
            "Type", "User", "WorkingDirectory", "Environment", "EnvironmentFile", "ExecStart", "SuccessExitStatus",
            "Restart", "RestartSec", "TimeoutStartSec", "MemoryMax", "Nice", "NoNewPrivileges", "ProtectSystem",
            "ReadWritePaths", "PrivateTmp",
        },
        "Timer": {"OnCalendar", "RandomizedDelaySec", "Persistent"},
        "Install": {"WantedBy"},
    }  # fmt: skip
    for name in ("pointsman-retrain.service", "pointsman-retrain.timer"):
        for section, settings in unit(name).items():
            assert set(settings) <= known.get(section, set()), section


def test_the_crontab_has_five_fields_and_a_command_each():
    for line in crontab_lines():
        fields = line.split(maxsplit=5)
        assert all(FIELD.fullmatch(field) for field in fields[:5]), line
        assert fields[5].startswith("cd ")
        assert "%" not in line, "cron reads a percent sign as a line break"


def test_the_cronjob_has_what_kubernetes_needs():
    job = cronjob()
    assert (job["apiVersion"], job["kind"], job["spec"]["concurrencyPolicy"]) == ("batch/v1", "CronJob", "Forbid")
    assert all(FIELD.fullmatch(field) for field in job["spec"]["schedule"].split())
    spec = job["spec"]["jobTemplate"]["spec"]
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never", "a failure policy needs it"
    rule = spec["podFailurePolicy"]["rules"][0]
    assert rule["onExitCodes"]["containerName"] == pod["containers"][0]["name"]
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 1), (3, 0), (4, 4)])
def test_the_cronjobs_shell_takes_a_kept_champion_for_a_success(tmp_path, code, expected):
    (tmp_path / "python").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "python").chmod(0o755)
    command = container()["command"]
    done = subprocess.run(
        ["/bin/sh", *command[1:]], env={"PATH": f"{tmp_path}:/usr/bin:/bin", "POINTSMAN_STORE": "x"}, check=False
    )
    assert done.returncode == expected
