"""Doors, disabled models and rates agree between replicas; and routers use them."""

import json
import math
import threading
import time

import pytest
import redis

from router_runtime import Router
from router_runtime.cli import main
from router_runtime.errors import ConfigError, NoCandidateError, RegistryError
from router_runtime.health import Health
from router_runtime.registry_reader import load_registry
from router_runtime.state import SharedState, is_shared
from router_runtime.state.doors import DISABLED, DOORS
from router_runtime.state.rates import LocalRates

TARGET = ("openai", "gpt-5.5")


def replica(shared, health):
    state = shared(every_s=3600.0)  # rounds are made by the test
    told = []
    state.start(health, told.append)
    return state, told


def test_a_breaker_that_opens_here_is_open_there_and_closes_there(shared, clock):
    here, there = Health(clock=clock), Health(clock=clock)
    one, _ = replica(shared, here)
    other, _ = replica(shared, there)
    for _ in range(here.settings.open_after):
        here.failed(TARGET, reason="ServerError")
    one.exchange()
    other.exchange()
    assert there.status()["openai/gpt-5.5"].state == "open"
    assert not there.mask([TARGET])[0]
    clock.advance(there.settings.probe_interval_s + 1)
    assert there.admit(TARGET)
    there.succeeded(TARGET, 10.0)
    other.exchange()
    one.exchange()
    assert here.status()["openai/gpt-5.5"].state == "closed"
    assert here.mask([TARGET])[0]


def test_a_hold_of_a_provider_is_kept_by_all(shared, clock):
    here, there = Health(clock=clock), Health(clock=clock)
    one, _ = replica(shared, here)
    other, _ = replica(shared, there)
    here.failed(TARGET, scope="provider", hold_s=30.0, reason="RateLimited")
    one.exchange()
    other.exchange()
    assert there.asked_for(("openai", "another")) == pytest.approx(30.0, abs=1.0)
    here.failed(("else", "model"), hold_s=60.0, asked=False, reason="ModelNotFound")
    one.exchange()
    other.exchange()
    assert there.asked_for(("else", "model")) == 0.0
    assert there.status()["else/model"].reason == "ModelNotFound"
    assert there.status()["openai"].reason == "RateLimited"


def test_quiet_replicas_tell_each_other_nothing(shared, clock):
    here, there = Health(clock=clock), Health(clock=clock)
    one, _ = replica(shared, here)
    other, _ = replica(shared, there)
    for state in (one, other, one):
        state.exchange()
    assert here.untouched
    assert there.untouched


def test_a_model_disabled_at_one_router_is_disabled_at_all(redis_url, registry_file):
    routers = [Router.open(registry=registry_file, state_dir=None, state=redis_url) for _ in range(2)]
    try:
        first, second = routers
        model = first.route("hello").chosen
        first.settings.state.disable(model, math.inf)
        second.settings.state.exchange()
        for router in routers:
            assert router.route("hello").filtered[model].startswith("disabled")
            with pytest.raises(NoCandidateError):
                router.route("hello", model=model)
        assert second.settings.state.enable(model)
        first.settings.state.exchange()
        assert first.route("hello").chosen == model
    finally:
        for router in routers:
            router.close()


def test_it_takes_no_exchange_by_hand(redis_url, registry_file):
    """The thread does it: others know within a second or so."""
    routers = [Router.open(registry=registry_file, state_dir=None, state=redis_url) for _ in range(2)]
    try:
        model = routers[0].route("hello").chosen
        routers[0].settings.state.disable(model, time.time() + 600)
        end = time.monotonic() + 30
        while model not in routers[1].route("hello").filtered and time.monotonic() < end:
            time.sleep(0.02)
        assert model in routers[1].route("hello").filtered
    finally:
        for router in routers:
            router.close()


@pytest.mark.parametrize(
    "word",
    [
        b"\xff\xfe", b"[1]", b"[" * 100_000, b'{"at": 1}',
        b'{"at": "x", "by": "y", "opened": null, "held": 0, "reason": null}',
        b'{"at": 1e12, "by": "y", "opened": "a", "held": 0, "reason": null}',
        b'{"at": NaN, "by": "y", "opened": null, "held": 0, "reason": null}',
    ],
)  # fmt: skip
def test_what_nobody_can_read_is_passed_over_and_removed(redis_url, shared, clock, word):
    here, there = Health(clock=clock), Health(clock=clock)
    one, _ = replica(shared, here)
    other, told = replica(shared, there)
    client = redis.Redis.from_url(redis_url)
    client.hset(DOORS, "openai", word)
    client.hset(DISABLED, b"\xff", "inf")
    here.failed(TARGET, scope="provider", hold_s=30.0, reason="RateLimited")
    one.exchange()
    other.exchange()
    assert there.status()["openai"].reason == "RateLimited"
    assert told == [{"\ufffd": math.inf}]
    client.hset(DOORS, "gone", word)
    other.exchange()
    assert not client.hexists(DOORS, "gone")
    client.close()


def test_a_fault_in_an_exchange_does_not_end_the_sharing(shared, clock, caplog):
    """Breakers and the kill switch were shared no more, and nobody was told."""
    state, told, faults = shared(every_s=0.001), [], ["a fault", "a fault"]
    done = threading.Event()

    def tell(ends):
        if faults:
            raise LookupError(faults.pop())
        told.append(ends)
        done.set()

    state._tell_disabled = tell
    state._link.call(lambda client: client.hset(DISABLED, "m", "inf"))
    state._begin()
    assert done.wait(10)
    assert told == [{"m": math.inf}]
    assert [record.message for record in caplog.records] == [
        "an exchange with the shared state failed (LookupError: a fault)"
    ]


def test_the_registry_names_it(redis_url, registry_file):
    registry_file.write_text(registry_file.read_text() + f"\nstate: {redis_url}\n")
    with_state = Router.open(registry=registry_file, state_dir=None)
    assert with_state.settings.state is not None
    assert with_state.engine.budgets is with_state.settings.state.budgets
    with_state.close()


def test_a_wrong_url_is_refused_without_telling_it(registry_file):
    registry_file.write_text(registry_file.read_text() + "\nstate: http://user:hunter2@host\n")
    with pytest.raises(RegistryError, match=r"registry\.yaml:\d+.*state must be a URL") as caught:
        load_registry(registry_file)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError) as refused:
        SharedState("redis://user:hunter2@host:port/0")
    assert "hunter2" not in str(refused.value)
    assert is_shared("redis://h")
    assert not is_shared("/var/lib/pointsman")


@pytest.fixture(params=["local", "redis"])
def rates(request, shared):
    if request.param == "local":
        yield LocalRates()
        return
    state = shared()
    yield state.rates
    assert state.up


def test_rates_let_a_minutes_worth_in_and_say_how_long_to_wait(rates):
    assert [rates.take("a", 3, 1) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert 0 < rates.take("a", 3, 1) <= 20.0
    assert rates.take("b", 3, 1) == 0.0


def test_what_is_overdrawn_is_earned_back_first(rates):
    assert rates.take("a", 60, 0) == 0.0
    rates.overdraw("a", 60, 120)
    assert 55 < rates.take("a", 60, 0) <= 61.0


def test_replicas_share_rates(shared):
    one, other = shared().rates, shared().rates
    assert [one.take("k", 2, 1), other.take("k", 2, 1)] == [0.0, 0.0]
    assert one.take("k", 2, 1) > 0


def test_the_command_disables_everywhere(redis_url, registry_file, capsys):
    router = Router.open(registry=registry_file, state_dir=None, state=redis_url)
    try:
        where = ["--registry", str(registry_file), "--state", redis_url]
        assert main(["disable", "gpt-5.5", "--for", "5m", *where]) == 0
        router.settings.state.exchange()
        assert router.route("hello").filtered["gpt-5.5"].startswith("disabled until")
        capsys.readouterr()
        assert main(["status", "--json", *where]) == 0
        document = json.loads(capsys.readouterr().out)
        assert not document["models"]["gpt-5.5"]["enabled"]
        assert document["state"] == redis_url.removeprefix("redis://")
        assert main(["enable", "gpt-5.5", *where]) == 0
        router.settings.state.exchange()
        assert "gpt-5.5" not in router.route("hello").filtered
    finally:
        router.close()


def test_the_command_says_that_redis_is_away(mortal, registry_file, capsys):
    mortal.stop()
    assert main(["disable", "gpt-5.5", "--registry", str(registry_file), "--state", mortal.url]) == 1
    assert "is away" in capsys.readouterr().err.splitlines()[-1]
