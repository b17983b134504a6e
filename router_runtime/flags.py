"""What can be switched off without a deploy: one model, or with ``flag:NAME`` every model that carries that flag.

A flag is on until someone disables it, as a model is; ``overrides`` and the shared state keep both alike, by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from router_runtime.errors import UnknownModelError
from router_runtime.registry import ModelEntry, Registry
from router_runtime.registry_yaml import did_you_mean

PREFIX = "flag:"


class Outage(NamedTuple):
    """Why a model is out.

    Args:
        until: UTC seconds since the epoch; infinity: until it is enabled.
        flag: The flag that took it out; None where the model itself was disabled.
    """

    until: float
    flag: str | None


def switch_name(registry: Registry, named: str) -> str:
    """Under which name ``named`` is disabled: a model or an alias gives the model's, ``flag:NAME`` itself.

    Raises:
        UnknownModelError: Naming the model or flag meant, where one is close.
    """
    if not named.startswith(PREFIX):
        return registry.model(named).name
    flags = [PREFIX + flag for flag in _flags(registry)]
    if named not in flags:
        raise UnknownModelError(f"no model carries the flag {named[len(PREFIX) :]!r}{did_you_mean(named, flags)}")
    return named


def switched(name: str) -> dict[str, str]:
    """``{"flag": …}`` or ``{"model": …}``: a name of :func:`switch_name` as JSON says it."""
    return {"flag": name.removeprefix(PREFIX)} if name.startswith(PREFIX) else {"model": name}


def outages(registry: Registry, ends: Mapping[str, float], now: float) -> dict[str, Outage]:
    """The models that are out at ``now``, by their own end or a flag's; the latest end counts.

    Args:
        registry: The models.
        ends: Until when, in UTC seconds since the epoch, by name of :func:`switch_name`.
        now: UTC seconds since the epoch.
    """
    found = {name: _outage(model, ends) for name, model in registry.models.items()}
    return {name: outage for name, outage in found.items() if outage.until > now}


def flags_off(registry: Registry, ends: Mapping[str, float], now: float) -> dict[str, float | None]:
    """Every flag of the registry, sorted: until when it is off, or None where it is on."""
    off = {flag: ends.get(PREFIX + flag, -math.inf) for flag in _flags(registry)}
    return {flag: end if end > now else None for flag, end in off.items()}


def flag_state(until: float | None) -> dict[str, bool | float | None]:
    """A value of :func:`flags_off` as JSON says it."""
    return {"on": until is None, "off_until": None if until is None or until == math.inf else until}


def _flags(registry: Registry) -> list[str]:
    return sorted({flag for model in registry.models.values() for flag in model.flags})


def _outage(model: ModelEntry, ends: Mapping[str, float]) -> Outage:
    own = Outage(ends.get(model.name, -math.inf), None)
    by_flag = [Outage(ends.get(PREFIX + flag, -math.inf), flag) for flag in sorted(model.flags)]
    return max([own, *by_flag], key=lambda outage: outage.until)
