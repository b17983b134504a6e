"""What stands beside the gateway: dashboard, alert rules, Dockerfile and compose file agree with the code."""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from dataclasses import replace

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from router_runtime.cli.main import _parser
from tests.conftest import ROOT
from tests.redis_server import RedisServer
from tests.runtime.gateway.house import registry_at, running

DEPLOY = ROOT / "router_runtime" / "gateway" / "deploy"
_NAME = re.compile(r"\b(?:pointsman|process)_[a-z0-9_]+\b")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Names of all series of a gateway with a log and a shared state, also of those that are still empty."""
    folder = tmp_path_factory.mktemp("gate")
    with RedisServer() as redis:
        known = replace(registry_at("http://127.0.0.1:1"), state=redis.url)
        with running(known, folder, open_door=True, log=folder / "log") as gate:
            page = httpx.get(f"{gate.url}/metrics").text
    names = set()
    for family in text_string_to_metric_families(page):
        names |= {sample.name for sample in family.samples}
        names.add(f"{family.name}_total" if family.type == "counter" else family.name)
        if family.type == "histogram":
            names |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
    return names


def dashboard():
    return json.loads((DEPLOY / "grafana.json").read_text())


def alerts():
    return [rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]


def named(expressions):
    return {name for expression in expressions for name in _NAME.findall(expression)}


def test_the_dashboard_shows_only_what_there_is(exported):
    expressions = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    assert named(expressions) <= exported
    ours = {name for name in exported if name.startswith("pointsman_") and not name.endswith(("_sum", "_created"))}
    counted = {name.removesuffix("_bucket").removesuffix("_count") for name in ours}
    shown = {name.removesuffix("_bucket") for name in named(expressions)}
    assert counted - shown <= {"pointsman_closed_for_seconds"}  # everything but how long a breaker stays closed


def test_panels_are_whole_and_do_not_overlap():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert all(panel["title"] and panel["targets"] for panel in panels)


def test_alerts_ask_for_what_there_is(exported):
    assert named(rule["expr"] for rule in alerts()) <= exported
    for rule in alerts():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")
def test_promtool_takes_the_rules():
    done = subprocess.run(["promtool", "check", "rules", DEPLOY / "alerts.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


def instructions():
    """(word, rest) of each instruction, continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def test_the_dockerfile_copies_what_there_is_and_runs_what_parses():
    found = instructions()
    allowed = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL"}
    assert {word for word, _ in found} <= allowed | {"ENTRYPOINT", "CMD"}
    for word, rest in found:
        if word == "COPY" and not rest.startswith("--from"):
            assert all((ROOT / source).exists() for source in shlex.split(rest)[:-1]), rest
    rest = dict(found)
    assert rest["USER"] != "root"
    extras = re.search(r"'\.\[([a-z,]+)\]'", (DEPLOY / "Dockerfile").read_text())[1].split(",")
    assert set(extras) <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert json.loads(rest["ENTRYPOINT"]) == ["pointsman"]
    serving = _parser().parse_args(json.loads(rest["CMD"]))
    assert (serving.host, serving.port) == ("0.0.0.0", int(rest["EXPOSE"]))


_SERVICE_KEYS = {
    "build", "command", "depends_on", "environment", "healthcheck", "image", "ports", "restart", "stop_grace_period",
    "volumes",
}  # fmt: skip


def test_the_compose_file_is_sound():
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = document["services"]
    assert set(document) == {"name", "services", "volumes"}
    assert set(services) == {"gateway", "redis", "mlflow"}
    for service in services.values():
        assert set(service) <= _SERVICE_KEYS
        assert ("image" in service) != ("build" in service)
        assert {place.split(":")[0] for place in service.get("volumes", [])} <= set(document["volumes"])
        assert set(service.get("depends_on", {})) <= set(services)
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert ":latest" not in service.get("image", ":1")
    build = services["gateway"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    serving = _parser().parse_args(services["gateway"]["command"])
    assert serving.state == ["redis://redis:6379/0"]
    grace = int(services["gateway"]["stop_grace_period"].removesuffix("s"))
    assert grace > serving.drain_s + serving.ready_delay_s


def test_docker_compose_takes_it():
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode != 0:
        pytest.skip("docker compose is not installed")
    done = subprocess.run([docker, "compose", "-f", DEPLOY / "compose.yaml", "config", "-q"], capture_output=True)
    assert done.returncode == 0, done.stderr
