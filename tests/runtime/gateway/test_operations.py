"""What operators see and do: /admin and /metrics of a running gateway, with a real Redis where replicas agree."""

import math
import shutil
import threading
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from router_runtime.budgets import Limit
from router_runtime.errors import BudgetExceeded
from router_runtime.gateway.metrics import MAX_VALUES, Metrics
from router_runtime.gateway.settings import GatewaySettings
from router_runtime.hooks import BreakerChanged, BudgetRefused, Swapped
from router_runtime.overrides import disable
from tests.provider_server import ProviderServer
from tests.redis_server import RedisServer
from tests.runtime.execution.wires import WIRES, good
from tests.runtime.gateway.house import registry_at, running

ASK = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def upstream():
    with ProviderServer(lambda got: good(WIRES[0], b'"stream":true' in got.body)) as server:
        yield server


def samples(text):
    return {
        (one.name, *sorted(one.labels.values())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def ask(gate, **headers):
    return httpx.post(f"{gate.url}/v1/chat/completions", json=ASK, headers=headers)


def admin(gate, method, where, **body):
    return httpx.request(method, f"{gate.url}/admin/{where}", json=body or None)


def test_metrics_count_what_is_turned_away(upstream, tmp_path):
    with running(registry_at(upstream.url), tmp_path, settings=GatewaySettings(max_body_bytes=500)) as gate:
        key, root = gate.key(requests_per_minute=1), gate.key("root", admin=True)
        asked = [
            httpx.post(f"{gate.url}/v1/chat/completions", headers={"x-api-key": who}, content=body).status_code
            for who, body in [("pm-nobody", b"{}"), (key, b"x" * 501), (key, b"{}"), (root, b"{}")]
        ]
        page = httpx.get(f"{gate.url}/metrics", headers={"x-api-key": root}).text
    assert asked == [401, 413, 429, 403]
    found = samples(page)
    told = [("401", "invalid_api_key"), ("413", "request_too_large"), ("429", "rate_limit_exceeded")]
    assert [found["pointsman_problems_total", *labels] for labels in told] == [1, 1, 1]
    assert found["pointsman_problems_total", "403", "wrong_kind_of_key"] == 1


def test_metrics_count_requests_decisions_attempts_and_cost(upstream, tmp_path):
    with running(registry_at(upstream.url), tmp_path, open_door=True, log=tmp_path / "log") as gate:
        for _ in range(3):
            assert ask(gate).status_code == 200
        gate.service.router.log.flush()
        page = httpx.get(f"{gate.url}/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = samples(page.text)
    assert found["pointsman_requests_total", "200", "chat"] == 3
    assert sum(n for key, n in found.items() if key[0] == "pointsman_decisions_total" and "m-openai" in key) == 3
    assert found["pointsman_attempts_total", "m-openai", "ok", "p-openai"] == 3
    assert found["pointsman_attempt_seconds_count", "p-openai"] == 3
    assert found["pointsman_cost_usd_total", "m-openai", "p-openai"] > 0
    assert found["pointsman_log_events_total", "written"] == 6, "decisions and attempts"
    assert found["pointsman_log_events_total", "dropped"] == 0
    assert found["pointsman_breaker_state", "p-openai"] == 0
    assert found["pointsman_model_disabled", "m-openai"] == 0


def test_no_label_grows_without_end():
    metrics = Metrics()
    for n in range(2 * MAX_VALUES):
        metrics.observe(BreakerChanged(f"provider-{n}", "open"))
        error = BudgetExceeded("none left", account=f"user:{n}", window="day", resets_at=0.0)
        metrics.observe(BudgetRefused("id", "p", "m", error))
    found = samples(metrics.render().decode())
    names = [key for key in found if key[0] == "pointsman_breaker_changes_total"]
    assert len(names) == MAX_VALUES + 1
    assert found["pointsman_breaker_changes_total", "open", "other"] == MAX_VALUES
    assert found["pointsman_budget_refusals_total", "user"] == 2 * MAX_VALUES


def test_disable_and_enable_as_the_command_does(upstream, tmp_path):
    with running(registry_at(upstream.url), tmp_path, open_door=True, state_dir=tmp_path) as gate:
        answer = admin(gate, "POST", "models/m-openai/disable", **{"for": "5m"})
        assert answer.json()["disabled"]
        assert answer.json()["until"] > gate.service.clock() + 290
        assert ask(gate).status_code == 503
        assert not admin(gate, "GET", "status").json()["models"]["m-openai"]["enabled"]
        assert admin(gate, "POST", "models/m-openai/enable").json()["was_disabled"]
        assert ask(gate).status_code == 200
        assert admin(gate, "POST", "models/m-opnai/disable").status_code == 404
        assert admin(gate, "POST", "models/m-openai/disable", **{"for": "soon"}).status_code == 400
        for field in ("seconds", "For"):
            answer = admin(gate, "POST", "models/m-openai/disable", **{field: "30s"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_field")
        assert "did you mean 'for'" in answer.text
        assert admin(gate, "GET", "status").json()["models"]["m-openai"]["enabled"], "not disabled for ever"


def test_the_time_may_stand_in_the_url(upstream, tmp_path):
    with running(registry_at(upstream.url), tmp_path, open_door=True, state_dir=tmp_path) as gate:
        for wrong in ("?for=soon", "?fro=30s", "?for=30s&for=5m", "?for="):
            assert admin(gate, "POST", f"models/m-openai/disable{wrong}").status_code == 400
        assert admin(gate, "POST", "models/m-openai/disable?for=30s", **{"for": "5m"}).status_code == 400
        assert admin(gate, "GET", "status").json()["models"]["m-openai"]["enabled"]
        until = admin(gate, "POST", "models/m-openai/disable?for=30s").json()["until"]
        assert 0 < until - gate.service.clock() <= 30
        assert admin(gate, "POST", "models/m-openai/disable").json()["until"] is None


def test_a_flag_is_switched_off_and_on_again(upstream, tmp_path):
    prices = "prices: [{valid_from: 2026-04-01, input: 1, output: 1}]"
    text = f"providers: {{p: {{adapter: openai-compatible, base_url: '{upstream.url}/v1'}}}}\nmodels:\n"
    text += f"  a: {{provider: p, {prices}, flags: [preview/x]}}\n  b: {{provider: p, {prices}}}\n"
    file = tmp_path / "registry.yaml"
    file.write_text(text)
    with running(file, tmp_path, open_door=True, state_dir=tmp_path) as gate:
        on = {"preview/x": {"on": True, "off_until": None, "models": ["a"]}}
        assert admin(gate, "GET", "flags").json() == {"flags": on}
        assert admin(gate, "POST", "flags/preview/x/disable", **{"for": "5m"}).json()["flag"] == "preview/x"
        assert not admin(gate, "GET", "flags").json()["flags"]["preview/x"]["on"]
        status = admin(gate, "GET", "status").json()
        assert [name for name, model in status["models"].items() if not model["enabled"]] == ["a"]
        assert status["flags"]["preview/x"]["off_until"] == status["models"]["a"]["disabled_until"]
        assert ask(gate, model="auto").headers["x-pointsman-model"] == "b"
        assert admin(gate, "POST", "flags/preview/x/enable").json()["was_disabled"]
        assert admin(gate, "GET", "flags").json() == {"flags": on}
        assert admin(gate, "POST", "flags/preview/disable").status_code == 404


def test_reload_and_bundle_swap_take_over_or_say_why_not(upstream, tmp_path, bundle_copy):
    text = (
        f"providers: {{p: {{adapter: openai-compatible, base_url: '{upstream.url}/v1'}}}}\n"
        "models:\n  a: {provider: p, prices: [{valid_from: 2026-04-01, input: 1, output: 1}]}\n"
    )
    file = tmp_path / "registry.yaml"
    file.write_text(text)
    with running(file, tmp_path / "state", open_door=True) as gate:
        before = admin(gate, "GET", "status").json()["registry"]
        file.write_text(text + "oops: 1\n")
        refused = admin(gate, "POST", "reload")
        assert refused.status_code == 409
        assert "oops" in refused.json()["changes"][-1]["refused"]
        assert refused.json()["registry"] == before
        again = admin(gate, "POST", "reload")  # nothing changed since, and what stands there is refused still
        assert (again.status_code, again.json()["refused"]) == (409, True)
        file.write_text(text + "# better\n")
        taken = admin(gate, "POST", "reload")
        assert taken.status_code == 200
        assert taken.json()["registry"] != before
        swapped = admin(gate, "POST", "bundle", path=str(bundle_copy))
        assert swapped.json()["bundle"] is not None
        shutil.rmtree(bundle_copy)
        assert admin(gate, "POST", "bundle", path=str(bundle_copy)).status_code == 409
        assert admin(gate, "GET", "status").json()["bundle"] == swapped.json()["bundle"]


def test_a_gateway_that_nobody_asks_takes_over_what_changed(upstream, tmp_path):
    """What is disabled while all is quiet must not answer the next request."""
    known = registry_at(upstream.url, ("openai", "openai-compatible"))
    with running(known, tmp_path, open_door=True, state_dir=tmp_path) as gate:
        taken = threading.Event()
        gate.service.router.listen(lambda event: taken.set() if isinstance(event, Swapped) else None)
        disable(tmp_path, "m-openai", math.inf, gate.service.clock())
        assert taken.wait(10)
        assert ask(gate).headers["x-pointsman-model"] == "m-openai-compatible"


def test_only_an_admin_key_opens_them(upstream, tmp_path):
    with running(registry_at(upstream.url), tmp_path) as gate:
        app, root = gate.key("app"), gate.key("root", admin=True)
        for path in ("metrics", "admin/status"):
            url = f"{gate.url}/{path}"
            assert httpx.get(url).status_code == 401
            assert httpx.get(url, headers={"x-api-key": app}).status_code == 403
            assert httpx.get(url, headers={"x-api-key": root}).status_code == 200


def test_two_gateways_agree_and_outlive_redis(upstream, tmp_path):
    with RedisServer() as redis, ExitStack() as stack:
        known = replace(registry_at(upstream.url), state=redis.url)
        one, other = (stack.enter_context(running(known, tmp_path)) for _ in range(2))
        key = one.key("app", requests_per_minute=3, budget_usd=1.0)
        other.service.keys = one.service.keys
        answers = [ask(gate, authorization=f"Bearer {key}").status_code for gate in (one, other, one, other)]
        assert answers == [200, 200, 200, 429]
        account = f"key:{one.service.keys.find(key).id}"
        limit = Limit(account, "month", Decimal(1))
        other.service.router.settings.state.exchange()
        spent = [gate.service.router.engine.budgets.spent(account, "month") for gate in (one, other)]
        assert spent[0] == spent[1]
        assert spent[0][0] > 0

        redis.stop()
        second = one.key("second", requests_per_minute=2)
        answers = [ask(one, authorization=f"Bearer {second}").status_code for _ in range(3)]
        assert answers == [200, 200, 429]
        root = one.key("root", admin=True)
        page = httpx.get(f"{one.url}/metrics", headers={"x-api-key": root}).text
        assert samples(page)["pointsman_state_shared",] == 0
        assert samples(page)["pointsman_state_lost_total",] == 1
        redis.start()
        assert one.service.router.settings.state.exchange()
        page = httpx.get(f"{one.url}/metrics", headers={"x-api-key": root}).text
        assert samples(page)["pointsman_state_shared",] == 1
        assert one.service.router.engine.budgets.headroom([limit]).usd < 1
