"""Any value anywhere in another tool's configuration: a registry that opens, or one of our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from router_runtime.errors import PointsmanError
from router_runtime.importing import FORMATS
from router_runtime.registry_reader import parse_registry
from tests.runtime.importing.test_litellm import CONFIG as LITELLM

LAB = {"id": "qwen", "name": "Qwen", "reasoning": True, "input": ["text", "image"], "contextWindow": 32_000}
LAB |= {"cost": {"input": 1, "output": 2, "cacheRead": 0.1}, "maxTokens": 8_000}
HOUSE = {"baseUrl": "https://lab.example/v1", "apiKey": "${LAB_KEY}", "api": "openai-completions", "models": [LAB]}
AGENT = {"id": "main", "name": "Main", "model": "qwen", "tools": {"allow": ["read"], "deny": ["exec"]}, "default": True}
OPENCLAW = {
    "agents": {
        "defaults": {
            "model": {"primary": "lab/qwen", "fallbacks": ["openai/gpt-5.5"]},
            "models": {"lab/qwen": {"alias": "q"}},
        },
        "list": [AGENT],
    },
    "models": {"mode": "merge", "providers": {"lab": HOUSE}},
}
GOOD = {"litellm": yaml.safe_load(LITELLM), "openclaw": OPENCLAW}
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["a/b", "${X}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from places(one, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], odd)
    return copy


@pytest.mark.parametrize("form", FORMATS, ids=lambda one: one.name)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_value_anywhere(form: Any, data: st.DataObject) -> None:
    good = GOOD[form.name]
    document = replaced(good, data.draw(st.sampled_from(list(places(good)))), data.draw(ODD))
    with suppress(PointsmanError):
        parse_registry(form.convert(document, date(2026, 11, 23)).to_yaml().encode())
