"""What goes beside the graph: the manifest, the model card and the MLflow record of one training."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.bundle import MANIFEST, Bundle
from router_runtime.encoder import TextEncoder
from training.dataset import Table
from training.feature_matrix import AnyFeatures
from training.fingerprints import data_fingerprint, price_fingerprint
from training.graph_parts import GraphParts
from training.model_card import METRICS, model_card, value_at
from training.run_record import RunRecord

_LABELS = 200
"""Labels whose shares a manifest holds at most; of more it holds none, for a part could not be compared with."""


def manifest_sha256(bundle: Bundle) -> str:
    """All of the bundle in one number: the manifest holds the other files' sha256. Its version begins this."""
    return hashlib.sha256((bundle.path / MANIFEST).read_bytes()).hexdigest()


def make_manifest(
    table: Table,
    features: AnyFeatures,
    parts: GraphParts,
    report: Mapping[str, Any] | None,
    rows: Mapping[str, int],
    encoder: TextEncoder | None = None,
) -> dict[str, Any]:
    """All that the bundle says of itself, but for what :func:`write_bundle` fills in."""
    quality, cost = table.matrix("quality"), table.matrix("cost_usd")
    places = {name: index for index, name in enumerate(table.model_names)}
    return {
        "models": [
            {"name": name, **_told(places.get(name), quality, cost), **_scale(parts, place)}
            for place, name in enumerate(parts.models)
        ],
        "domains": list(parts.domains),
        "structural_medians": _medians(features),
        **({} if encoder is None else {"encoder": {"fingerprint": encoder.fingerprint, "dims": encoder.dims}}),
        "calibration": dict(report["calibration"]) if report else {},
        "training_window": training_window(table, rows),
        "fingerprints": {"data_sha256": data_fingerprint(table), "prices_sha256": price_fingerprint([table])},
        "metrics": flat_metrics(report),
    }


def _scale(parts: GraphParts, place: int) -> dict[str, float]:
    return {} if parts.input_scale is None else {"input_scale": round(float(parts.input_scale[place]), 6)}


def _told(place: int | None, quality: npt.NDArray[np.float64], cost: npt.NDArray[np.float64]) -> dict[str, Any]:
    if place is None:
        return {}
    labels = np.isfinite(quality[:, place])
    costs = cost[np.isfinite(cost[:, place]), place]
    entry: dict[str, Any] = {"labels": int(labels.sum())}
    if labels.any():
        entry["mean_quality"] = round(float(quality[labels, place].mean()), 6)
    if len(costs):
        entry["mean_cost_usd"] = float(costs.mean())
    return entry


def _medians(features: AnyFeatures) -> list[float]:
    step = max(1, len(features) // 2000)
    sample = np.stack([features[row].structural for row in range(0, len(features), step)])
    return [float(value) for value in np.median(sample, axis=0)]


def training_window(table: Table, rows: Mapping[str, int]) -> dict[str, Any]:
    """What was learnt from: the shares of the labels, and from when to when where the rows carry a time."""
    window: dict[str, Any] = {"source": table.name, "prompts": len(table.prompts), **rows}
    shares = table.prompts["task"].dropna().astype(str).value_counts(normalize=True)
    if 0 < len(shares) <= _LABELS:
        window["label_shares"] = {str(name): round(float(share), 6) for name, share in sorted(shares.items())}
    if "time" in table.prompts.columns and len(table.prompts):
        times = table.prompts["time"].astype(float)
        window |= {"from": float(times.min()), "to": float(times.max())}
    return window


def flat_metrics(report: Mapping[str, Any] | None) -> dict[str, float]:
    """Finite metrics of ours, of the baselines and of calibration, by dotted name."""
    if report is None:
        return {}
    rows = {"": report, **{f"{name}.": row for name, row in report.get("baselines", {}).items()}}
    found = {
        f"{prefix}{metric}": float(value)
        for prefix, row in rows.items()
        for metric in METRICS
        if (value := value_at(row, metric)) is not None and not prefix.startswith("single:")
    }
    calibration = report["calibration"]
    return found | {f"calibration.{key}": calibration[key] for key in ("ece_mean", "ece_max", "brier")}


def make_card(
    table: Table,
    report: Mapping[str, Any] | None,
    rows: Mapping[str, int],
    fingerprints: Mapping[str, str],
    note: str | None,
    elsewhere: str = "",
) -> str:
    """The model card of a router trained on one table.

    ``note`` comes first under its limits; ``elsewhere`` stands for the ``report`` of one that held nothing out.
    """
    data = [{"name": table.name, "prompts": len(table.prompts), "models": len(table.models)}]
    how = f"Held out: {report['held_out']}." if report else elsewhere
    limits: Sequence[str] = [note] if note else []
    return model_card(
        title=f"Router trained on {table.name}",
        data=data,
        counts=rows,
        report=report,
        how=how,
        fingerprints=fingerprints,
        limits=limits,
    )


def run_record(
    manifest: Mapping[str, Any],
    report: Mapping[str, Any] | None,
    card: str,
    figures: Mapping[str, bytes],
    settings: Mapping[str, str],
) -> RunRecord:
    """What MLflow keeps of this training."""
    models = ", ".join(model["name"] for model in manifest["models"])
    window = manifest["training_window"]
    rows = {f"rows.{name}": float(value) for name, value in window.items() if isinstance(value, int)}
    return RunRecord(
        params={"source": str(window["source"]), "models": models, "python": platform.python_version(), **settings},
        metrics={**manifest["metrics"], **rows},
        tags=dict(manifest["fingerprints"]),
        figures=figures,
        documents={"MODEL_CARD.md": card, "report.json": json.dumps(report, indent=1)},
    )
