"""The dashboard in a real browser, before a running gateway with traffic of scripted providers."""

import gc
import json
import os
import re
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from router_runtime.budgets import Budgets
from router_runtime.errors import StoreError
from router_runtime.gateway.ui import HEADERS, static_files
from router_runtime.gateway.ui_about import last_retrain, mlflow_address
from router_runtime.gateway.ui_data import overview
from router_runtime.gateway.ui_log import find_decision, time_of
from router_runtime.gateway.ui_sealed import SealedDays
from router_runtime.outcome_log import open_log
from router_runtime.records import uuid7
from router_runtime.registry import ArmEntry, BudgetEntry, ExperimentEntry, IntentEntry, TierEntry
from router_runtime.registry_agents import AgentEntry
from tests.browser import DESKTOP, PHONE, running_browser, watched
from tests.provider_server import ProviderServer, reply
from tests.runtime.execution.wires import WIRES, good
from tests.runtime.execution.world import model, provider
from tests.runtime.gateway.house import CAPABLE, PATIENT, quick_engine, registry_at, running
from tests.training.table_examples import small_table
from training.event_log import events_table, write_events
from training.log_table import load_log
from training.simulated_log import simulate
from training.simulated_world import SimulationSettings

SHIPPED = Path(__file__).parents[3] / "models" / "default"
SECRET = "the prompt that nobody may see"
BODY = json.dumps({"chosen": "small", "prompt": SECRET})
NOW = 1_775_001_600.0
REQUESTS, BROKEN = 60, 6
ALL = REQUESTS + BROKEN


def known(url):
    """Three models at two providers, one of which fails; a tier with a budget; an experiment with a fixed arm."""
    plain = registry_at(url)
    providers = {
        name: provider(name, f"{url}{path}", api_key_env=None, **PATIENT)
        for name, path in (("north", "/v1"), ("south", "/bad/v1"))
    }
    prices = {"small": (0.2, 0.8), "large": (15.0, 75.0), "shaky": (1.0, 4.0)}
    models = {
        name: replace(model(name, "south" if name == "shaky" else "north", price=price), capabilities=CAPABLE)
        for name, price in prices.items()
    }
    models["shaky"] = replace(models["shaky"], quality_prior=0.9)
    arms = (ArmEntry("router", 0.5), ArmEntry("baseline", 0.5, model="large"))
    return replace(
        plain,
        providers=providers,
        models=models,
        names={name: name for name in models},
        tiers={"free": TierEntry("free", budgets=(BudgetEntry("day", usd=2.0),))},
        intents={"refactor": IntentEntry("refactor", labels=("code",))},
        agents={"coding": AgentEntry("coding", "writes code", models=("small",))},
        experiments={"holdout": ExperimentEntry("holdout", "user", arms)},
    )


def scripted(got):
    if got.path.startswith("/bad"):
        return reply(500, {"error": {"message": "out of order"}})
    return good(WIRES[0], b'"stream":true' in got.body)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with ProviderServer(scripted) as upstream, logging(upstream, tmp_path_factory.mktemp("gateway")) as gate:
        traffic(gate)
        yield gate


@contextmanager
def logging(upstream, home):
    """A gateway that keeps a log and budgets."""
    log, budgets = open_log(home / "log", home / "outbox"), Budgets()
    engine = quick_engine(log=log.offer, budgets=budgets)
    with running(known(upstream.url), home, engine=engine, log=log, log_prompts="full", state_dir=home) as gate:
        yield gate
    budgets.close()


def traffic(gate):
    with httpx.Client(base_url=gate.url, headers={"x-api-key": gate.key("app", tiers=("free",))}) as client:
        for number in range(REQUESTS):
            ask = {"model": "auto", "user": f"u{number % 20}", "messages": [{"role": "user", "content": SECRET}]}
            if number % 3 == 0:
                ask |= {"model": "intent/refactor"}
            answer = client.post("/v1/chat/completions", json=ask)
            assert answer.status_code == 200, answer.text
            if number % 2 == 0:
                row = {"decision_id": answer.headers["x-pointsman-decision"], "score": 1.0 if number % 4 else 0.0}
                client.post("/v1/feedback", json=row).raise_for_status()
        for _ in range(BROKEN):  # a caller that wants the model that is out of order, and nothing else
            ask = {"model": "shaky", "messages": [{"role": "user", "content": SECRET}]}
            assert client.post("/v1/chat/completions", json=ask).status_code >= 500
    assert gate.service.router.log.flush()


@pytest.fixture(scope="module")
def root(gateway):
    return gateway.key("root", admin=True)


@pytest.fixture(scope="module")
def chrome():
    with running_browser() as browser:
        yield browser


def signed_in(seen, gateway, root):
    seen.page.goto(f"{gateway.url}/ui/")
    seen.page.get_by_label("Admin key").fill(root)
    seen.page.get_by_role("button", name="Open the dashboard").click()
    seen.page.locator("#recent tbody tr").first.wait_for(timeout=8000)


def test_it_asks_for_a_key_and_a_wrong_one_is_told(gateway, chrome):
    with watched(chrome) as seen:
        seen.page.goto(f"{gateway.url}/ui")
        field = seen.page.get_by_label("Admin key")
        field.wait_for(timeout=8000)
        assert field.evaluate("one => one === document.activeElement")
        assert seen.page.locator("main").is_hidden()
        field.fill("pm-wrong")
        field.press("Enter")
        seen.page.get_by_text("this API key is not known").wait_for(timeout=8000)
        assert seen.page.evaluate("sessionStorage.length") == 0


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "light"), (DESKTOP, "dark")])
def test_it_shows_the_traffic_without_errors_or_requests_that_leave(gateway, root, chrome, viewport, scheme):
    with watched(chrome, viewport, scheme) as seen:
        signed_in(seen, gateway, root)
        text = seen.page.locator("main").inner_text()
        for shown in ("Decisions", f"{ALL}", "Saved against baseline", "large alone", "north", "refactor", "coding"):
            assert shown in text
        assert seen.page.locator("#recent tbody tr").count() == 50
        assert seen.page.locator("#series svg rect").count() == 24
        assert seen.page.locator("#budgets").inner_text().count("of $2.00") == 1
        assert "open" in seen.page.locator("#health").inner_text()
        assert seen.sideways() == 0
        assert all(url.startswith(f"{gateway.url}/") for url in seen.requests)
        assert [error for error in seen.errors if "401" not in error] == []


def test_a_decision_is_explained_by_keyboard_alone(gateway, root, chrome):
    with watched(chrome, PHONE) as seen:
        signed_in(seen, gateway, root)
        first = seen.page.locator("#recent .link").first
        first.focus()
        seen.page.keyboard.press("Enter")
        dialog = seen.page.get_by_role("dialog")
        dialog.get_by_role("heading", name="Attempts").wait_for(timeout=8000)
        text = dialog.inner_text()
        assert "Candidates" in text
        assert "drawn with probability" in text
        assert SECRET not in text
        assert seen.sideways() == 0
        seen.page.keyboard.press("Escape")
        assert not dialog.is_visible()
        assert first.evaluate("one => one === document.activeElement")


def test_every_control_is_reached_by_tab_and_seen_when_it_is(gateway, root, chrome):
    with watched(chrome) as seen:
        signed_in(seen, gateway, root)
        seen.page.reload()
        seen.page.locator("#recent tbody tr").first.wait_for(timeout=8000)
        reached = []
        for _ in range(6):
            seen.page.keyboard.press("Tab")
            reached.append(seen.page.evaluate("document.activeElement.id || document.activeElement.className"))
            assert seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        assert reached[:4] == ["skip", "hours", "pause", "leave"]


def test_sealed_days_say_the_same_as_training_reads(tmp_path, registry):
    settings = SimulationSettings(days=3, holdout_model="dear", outage_share=0.05, thumbs_rate=0.3, test_rate=0.5)
    simulate(small_table(60), tmp_path, settings, 900, seed=1)
    found = overview(tmp_path, settings.start, settings.start + 3 * 86_400, registry)
    log = load_log(tmp_path)
    totals = found["totals"]
    assert totals["decisions"] == 900
    assert totals["spent_usd"] == pytest.approx(log.decisions["total_cost_usd"].sum())
    assert totals["fallbacks"] == (log.decisions["served"] != log.decisions["chosen"]).sum() > 0
    assert totals["labelled"] == np.isfinite(log.labels.quality).sum()
    assert {row["model"]: row["decisions"] for row in found["models"]} == dict(log.decisions["served"].value_counts())
    later = overview(tmp_path, settings.start + 86_400, settings.start + 3 * 86_400, registry)
    assert later["totals"]["decisions"] == (log.decisions["time"] >= settings.start + 86_400).sum()
    one = log.decisions.iloc[0]
    why = find_decision(tmp_path, one["decision_id"])
    assert (why["decision"]["chosen"], len(why["attempts"])) == (one["chosen"], one["attempts"])


def test_what_is_kept_of_sealed_days_says_the_same_and_is_read_once(tmp_path, registry):
    settings = SimulationSettings(days=3, holdout_model="dear", outage_share=0.05, thumbs_rate=0.3, test_rate=0.5)
    log, start, end = tmp_path / "log", settings.start, settings.start + 3 * 86_400
    simulate(small_table(60), log, settings, 900, seed=1)
    files = sorted(log.glob("day=*/*.parquet"))
    late, held = files[-1], tmp_path / "held.parquet"
    late.rename(held)
    sealed = SealedDays()

    def same(since):
        found = overview(log, since, end, registry, sealed)
        assert found == overview(log, since, end, registry)
        return found["totals"]["decisions"]

    fewer = same(start)
    held.rename(late)
    assert same(start) == 900 > fewer, "a new file is read"
    assert same(start + 86_400) < 900
    first = files[0]
    told = first.stat()
    first.write_bytes(b"x" * told.st_size)
    os.utime(first, ns=(told.st_atime_ns, told.st_mtime_ns))
    assert overview(log, start, end, registry, sealed)["totals"]["decisions"] == 900, "a known file is not read again"
    first.write_bytes(b"changed")
    with pytest.raises(StoreError, match="cannot be read"):
        overview(log, start, end, registry, sealed)


def test_arms_are_compared_by_what_was_dealt_to_them(tmp_path):
    """Sessions of one user lie in both arms where sessions are dealt; his calls are then no single subject's."""
    arms = (ArmEntry("router", 0.5), ArmEntry("baseline", 0.5, model="large"))
    events = []
    for number in range(80):
        arm, key = ("router", "baseline")[number % 2], uuid7(NOW + number)
        cost = (1e-3, 1e-2)[number % 2] * (1 + number % 7)
        told = {"chosen": "large", "arm": f"holdout/{arm}", "user_hash": "one", "session": f"s{number % 40}"}
        events.append((key, "decision", key, NOW, json.dumps(told)))
        call = {"index": 0, "model": "large", "cost_usd": cost}
        events.append((uuid7(NOW + number), "attempt", key, NOW, json.dumps(call)))
    columns = dict(zip(("id", "kind", "decision_id", "time", "body"), zip(*events, strict=True), strict=True))
    write_events(tmp_path, events_table(columns), "one")
    seen = {}
    for unit in ("session", "user"):
        registry = replace(registry_at("http://x"), experiments={"holdout": ExperimentEntry("holdout", unit, arms)})
        seen[unit] = {
            row["arm"]: row for row in overview(tmp_path, NOW - 9, NOW + 99, registry)["experiments"][0]["arms"]
        }
    assert {unit: arms["router"]["subjects"] for unit, arms in seen.items()} == {"session": 20, "user": 1}
    saving = seen["session"]["router"]["saving"]
    assert 0.8 < saving["low"] < saving["value"] < saving["high"] < 1


def test_what_is_kept_of_sealed_days_goes_with_them_and_holds_no_prompt(tmp_path):
    table = pa.table({"id": ["1"], "kind": ["decision"], "decision_id": ["d"], "time": [1.0], "body": [BODY]})
    files = [tmp_path / f"day=2026-04-{day:02}" / "a.parquet" for day in range(1, 21)]
    for path in files:
        path.parent.mkdir()
        pq.write_table(table, path)
    sealed = SealedDays()
    with duckdb.connect(":memory:") as db:
        kept = [one["decision"] for one in sealed.narrowed(db, files)]
        assert [path.exists() for path in kept] == [False] * 4 + [True] * 16
        files[-1].unlink()
        sealed.narrowed(db, files[4:-1])
        assert not kept[-1].exists()
    assert pq.read_table(kept[10]).column("chosen").to_pylist() == ["small"]
    assert SECRET not in str(pq.read_table(kept[10]).to_pylist())
    home = kept[0].parent
    del sealed
    gc.collect()
    assert not home.exists()


def test_the_open_spool_is_read_as_it_is_written(gateway, root):
    headers = {"x-api-key": root}
    found = httpx.get(f"{gateway.url}/ui/api/overview?hours=1", headers=headers).json()
    assert found["totals"]["decisions"] == ALL
    assert found["totals"]["unanswered"] > 0
    assert found["totals"]["labelled"] == REQUESTS // 2
    assert sum(point["decisions"] for point in found["series"]["points"]) == ALL
    assert sum(row["share"] for row in found["models"]) == pytest.approx(1)
    arms = {arm["arm"]: arm for arm in found["experiments"][0]["arms"]}
    assert found["experiments"][0]["baseline_model"] == "large"
    assert arms["router"]["decisions"] + arms["baseline"]["decisions"] == REQUESTS
    assert arms["router"]["saving"]["low"] <= arms["router"]["saving"]["value"] <= arms["router"]["saving"]["high"]
    assert SECRET not in json.dumps(found)
    one = httpx.get(f"{gateway.url}/ui/api/decisions/{found['recent'][0]['id']}", headers=headers)
    assert one.json()["prompt_logged"]
    assert SECRET not in one.text


def test_data_needs_an_admin_key_and_files_need_none(gateway, root):
    app = gateway.key("other")
    for path in ("overview", "about", "decisions/x"):
        url = f"{gateway.url}/ui/api/{path}"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"x-api-key": app}).status_code == 403
    for name in static_files():
        answer = httpx.get(f"{gateway.url}/ui/{'' if name == 'index.html' else name}")
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"]
    headers = {"x-api-key": root}
    for hours in ("5", "²", "9" * 5000):
        assert httpx.get(f"{gateway.url}/ui/api/overview", params={"hours": hours}, headers=headers).status_code == 400
    beyond = "ffffffff-ffff-7fff-bfff-ffffffffffff"  # of a year that no date has
    assert httpx.get(f"{gateway.url}/ui/api/decisions/{beyond}", headers=headers).status_code == 404
    assert httpx.get(f"{gateway.url}/ui/api/decisions/{uuid7()}", headers=headers).status_code == 404
    assert httpx.get(f"{gateway.url}/ui/api/decisions/nothing", headers=headers).status_code == 404


def test_without_a_log_the_rest_is_shown(tmp_path, chrome):
    with (
        ProviderServer(scripted) as upstream,
        running(known(upstream.url), tmp_path, open_door=True) as gate,
        watched(chrome) as seen,
    ):
        seen.page.goto(f"{gate.url}/ui/")
        seen.page.get_by_text("this gateway keeps no log").wait_for(timeout=8000)
        assert "north" in seen.page.locator("#health").inner_text()


def test_it_says_what_the_bundle_learnt_from_and_which_flags_are_off(tmp_path, chrome):
    plain = registry_at("http://127.0.0.1:9")
    flagged = replace(
        plain, models={name: replace(m, flags=frozenset({"preview"})) for name, m in plain.models.items()}
    )
    with running(flagged, tmp_path, open_door=True, state_dir=tmp_path, bundle=SHIPPED) as gate:
        assert httpx.post(f"{gate.url}/admin/flags/preview/disable", json={"for": "5m"}).status_code == 200
        with watched(chrome) as seen:
            seen.page.goto(f"{gate.url}/ui/")
            seen.page.get_by_text("Flags: preview off until").wait_for(timeout=8000)
            trained = seen.page.locator("#bundle").inner_text()
            assert re.search(r"\d+ prompts, [\d,]+ labels", trained), trained


def test_no_file_names_another_host():
    for name, content in static_files().items():
        outside = set(re.findall(r"https?://[^\s\"'<>]+", content.decode())) - {"http://www.w3.org/2000/svg"}
        assert outside == set(), name


def test_the_last_retraining_is_found_beside_its_bundle_and_damage_is_no_error(tmp_path):
    bundle = tmp_path / "champion"
    assert last_retrain(bundle) is None
    run = tmp_path / "champion.retrain" / "0123"
    run.mkdir(parents=True)
    (run / "outcome.json").write_text('{"outcome": "kept", "version": "7"}')
    reasons = [{"check": "quality", "passed": False, "detail": "worse by 2 points"}]
    (run / "verdict.json").write_text(json.dumps({"summary": "quality is worse", "reasons": reasons}))
    found = last_retrain(bundle)
    assert (found["outcome"], found["version"], found["reasons"]) == ("kept", "7", reasons)
    (run / "outcome.json").write_text("{")
    assert last_retrain(bundle) is None


def test_times_of_ids_and_addresses_without_secrets():
    assert time_of(uuid7(1_780_000_000.5)) == pytest.approx(1_780_000_000.5, abs=0.001)
    assert time_of("d1") is None
    assert time_of("ffffffff-ffff-7fff-bfff-ffffffffffff") is None
    assert time_of("z" * 12 + "7" + "0" * 19) is None
    assert mlflow_address("https://me:secret@host:5000/x?token=1") == "https://host:5000/x"
    assert mlflow_address("sqlite:///mlflow.db") is None


def test_the_wheel_carries_the_files():
    text = (Path(__file__).resolve().parents[3] / "pyproject.toml").read_text()
    assert '"gateway/ui/*"' in text
    assert {"index.html", "app.css", "app.js", "draw.js", "panels.js", "why.js", "words.js"} <= set(static_files())
