"""A registry, decisions and an engine around local servers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from router_runtime.chat import ChatRequest
from router_runtime.execution import ChatStream, Engine, ExecutionSettings, RetrySettings, StreamRestart
from router_runtime.execution.retry import RetryBudget
from router_runtime.health import Health
from router_runtime.providers.catalog import adapter
from router_runtime.records import Attempt, Candidate, Decision, TaskProfile
from router_runtime.registry import ModelEntry, PolicyEntry, Price, ProviderEntry, Registry

KEY = "sk-secret-0123456789abcdef"
ENVIRON = {"TEST_KEY": KEY}
ASK = ChatRequest(messages=({"role": "user", "content": "Which track?"},))
FAST = RetrySettings(base_s=0.001, cap_s=0.002)
QUICK = ExecutionSettings(deadline_s=4.0, retry=FAST)


def provider(name: str, url: str, wire: str = "openai", **more: Any) -> ProviderEntry:
    limits = {"connect_timeout_s": 0.5, "first_token_timeout_s": 0.25, "idle_timeout_s": 0.25, "timeout_s": 0.25}
    return ProviderEntry(name, wire, url, **{"api_key_env": "TEST_KEY", **limits, **more})


def model(name: str, at: str, window: int = 128_000, price: tuple[float, float] = (2.0, 10.0)) -> ModelEntry:
    return ModelEntry(name, at, f"up-{name}", (Price(date(2026, 1, 1), *price),), context_window=window)


def registry(providers: Sequence[ProviderEntry], models: Sequence[ModelEntry]) -> Registry:
    return Registry(
        providers={p.name: p for p in providers},
        models={m.name: m for m in models},
        tiers={},
        labels={},
        intents={},
        policy=PolicyEntry(),
        experiments={},
        names={m.name: m.name for m in models},
        version="test",
    )


def decision(names: Sequence[str], number: int = 0) -> Decision:
    candidates = tuple(
        Candidate(n, 0.9 - i / 10, 10.0, 5.0, 0.0001, None, 1.0 - i / 10, 1.0 if i == 0 else 0.0)
        for i, n in enumerate(names)
    )
    return Decision(
        id=f"d{number}",
        time=1.0,
        chosen=names[0],
        propensity=1.0,
        candidates=candidates,
        filtered={},
        task=TaskProfile(),
        policy="test",
        policy_version="1",
        bundle_version="none",
        price_version="1",
    )


@dataclass
class World:
    """Models m0, m1, … each at a provider p0, p1, … of its own, unless said otherwise."""

    registry: Registry
    engine: Engine
    log: list[Attempt] = field(default_factory=list)

    @classmethod
    def of(cls, urls: Sequence[str], wire: str = "openai", **engine: Any) -> "World":
        providers = [provider(f"p{i}", url, wire) for i, url in enumerate(urls)]
        models = [model(f"m{i}", f"p{i}") for i in range(len(urls))]
        return cls.around(registry(providers, models), **engine)

    @classmethod
    def around(cls, known: Registry, **engine: Any) -> "World":
        log: list[Attempt] = []
        settings = engine.pop("settings", QUICK)
        parts = {
            "adapters": adapter,
            "settings": settings,
            "environ": ENVIRON,
            "log": log.append,
            "retry": RetryBudget(settings.retry),
            "health": Health(),
            "random": lambda: 0.5,
            **engine,
        }
        return cls(known, Engine(**parts), log)

    @property
    def names(self) -> list[str]:
        return list(self.registry.models)

    async def complete(self, names: Sequence[str] | None = None, request: ChatRequest = ASK, **how: Any) -> Any:
        return await self.engine.complete(self.registry, decision(names or self.names), request, **how)

    def stream(self, names: Sequence[str] | None = None, request: ChatRequest = ASK, **settings: Any) -> Any:
        chosen = replace(self.engine.settings, **settings)
        made = decision(names or self.names)
        return ChatStream(lambda: self.engine.call(self.registry, made, request, (), chosen), made)


async def read_all(stream: ChatStream, seen: list[str]) -> None:
    """Puts each piece of text into ``seen``; a restart as its model's name in brackets."""
    async with stream:
        async for item in stream:
            seen.append(f"[{item.model}]" if isinstance(item, StreamRestart) else item.content or "")  # noqa: PERF401 - what came before an error counts
