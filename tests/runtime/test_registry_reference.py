"""REGISTRY.md is the registry's reference: it has every key, and its examples are valid beside the shipped file."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from router_runtime.policy_settings import PolicySettings
from router_runtime.registry import (
    ArmEntry,
    BudgetEntry,
    CanaryEntry,
    ExperimentEntry,
    GuardEntry,
    IntentEntry,
    ModelEntry,
    PolicyEntry,
    Price,
    ProviderEntry,
    TierEntry,
)
from router_runtime.registry_agents import (
    AgentEntry,
    DispatchEntry,
    EndpointEncoderEntry,
    MemoryEntry,
    OnnxEncoderEntry,
)
from router_runtime.registry_reader import _AGENTS, _TOP, DEFAULT_REGISTRY, parse_registry

REFERENCE = DEFAULT_REGISTRY.with_name("REGISTRY.md").read_text()
ENTRIES = (
    *(ProviderEntry, ModelEntry, Price, TierEntry, BudgetEntry, IntentEntry, PolicySettings, PolicyEntry),
    *(ArmEntry, ExperimentEntry, GuardEntry, CanaryEntry, AgentEntry, MemoryEntry, DispatchEntry),
    *(EndpointEncoderEntry, OnnxEncoderEntry),
)
NO_KEYS = {"name", "settings", "window"}
EXAMPLES = re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL)
QUOTED = set(re.findall(r"\w+", " ".join(re.findall(r"```yaml\n.*?```|`[^`]+`", REFERENCE, re.DOTALL))))


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_key_is_there(entry):
    assert {field.name for field in fields(entry)} - NO_KEYS - QUOTED == set()


def test_every_section_is_there():
    assert {*_TOP, *_AGENTS} <= QUOTED


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_valid_beside_the_shipped_registry(example):
    parse_registry((DEFAULT_REGISTRY.read_text() + example).encode())


def test_the_examples_hold_together():
    assert len(EXAMPLES) == 3
    found = parse_registry((DEFAULT_REGISTRY.read_text() + "".join(EXAMPLES)).encode())
    assert found.experiments["savings"].arms[1].model == "gpt-5.5"
    assert found.canary is not None
    assert found.encoder is not None
