"""What the dashboard says of the router in service: its bundle, its last retraining, the registry's names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from router_runtime.gateway.service import Service

_MAX_BYTES = 1 << 20
_REASONS = 20


def about_of(service: Service) -> dict[str, Any]:
    """All of it, JSON-ready."""
    snapshot = service.router.live.snapshot(service.clock())
    registry, bundle = snapshot.registry, snapshot.bundle
    return {
        "log": service.router.log is not None,
        "mlflow": mlflow_address(os.environ.get("MLFLOW_TRACKING_URI", "")),
        "agents": {name: entry.description for name, entry in sorted(registry.agents.items())},
        "intents": sorted(registry.intents),
        "policy": {"strategy": registry.policy.settings.strategy, "exploration": registry.policy.settings.exploration},
        "retrain": None if bundle is None else last_retrain(bundle.path),
        "bundle": None
        if bundle is None
        else {
            "version": bundle.version,
            "models": len(bundle.manifest.models),
            "trained": {k: v for k, v in bundle.manifest.training_window.items() if isinstance(v, int | float | str)},
            "metrics": {k: v for k, v in bundle.manifest.metrics.items() if isinstance(v, int | float | str)},
        },
    }


def last_retrain(bundle: Path) -> dict[str, Any] | None:
    """The newest finished run of the weekly job that keeps ``bundle``: its outcome, and the gate's verdict.

    The job leaves its runs beside the folder that it serves, in ``<folder>.retrain``. None where there is none, or
    none that can be read: a dashboard is no reason to fail.
    """
    runs = sorted(bundle.with_name(f"{bundle.name}.retrain").glob("*/outcome.json"), key=_written)
    outcome = _read(runs[-1]) if runs else None
    if outcome is None:
        return None
    verdict = _read(runs[-1].with_name("verdict.json")) or {}
    reasons = verdict.get("reasons")
    return {
        "time": _written(runs[-1]),
        "outcome": str(outcome.get("outcome", "unknown")),
        "version": str(outcome.get("version", "")),
        "summary": str(verdict.get("summary", "")),
        "reasons": [_reason(one) for one in reasons[:_REASONS] if isinstance(one, dict)]
        if isinstance(reasons, list)
        else [],
    }


def _reason(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "check": str(one.get("check", "")),
        "passed": one.get("passed") is True,
        "detail": str(one.get("detail", "")),
    }


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # swept away in this moment
        return 0.0


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def mlflow_address(uri: str) -> str | None:
    """A tracking server's address as people may open it, without user, password or query; None where it is none."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
