"""The challenger's bundle, and the record of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.bundle import CARD, GRAPH, MANIFEST, Bundle, open_bundle
from router_runtime.bundle_writer import write_bundle
from router_runtime.encoder import TextEncoder
from training.crossval import Learn
from training.export import export_graph
from training.gate import Verdict
from training.log_table import LogTable
from training.logged import logged_calibration
from training.packaging import make_card, make_manifest, run_record
from training.parity import check_parity
from training.progress import Progress
from training.run_record import RunRecord
from training.train import parity_prompts, usable_rows

Floats = npt.NDArray[np.float64]
_TAG_BYTES = 4900
NOTE = "Learnt from a log: each prompt was answered by one model, which the policy of the day chose."


def held_out_report(log: LogTable, quality: Floats, folds: int) -> dict[str, Any]:
    """Calibration of held-out predictions [n, A] on the answers that were logged, as the model card takes it."""
    observed = log.table.matrix("quality")
    present = np.isfinite(observed)
    return {
        "table": log.table.name,
        "calibration": logged_calibration(quality, observed, present, log.models),
        "held_out": f"each of {folds} folds of sessions in turn; logged answers only",
        "baselines": {},
        "differences": {},
    }


def fit_bundle(
    log: LogTable,
    learn: Learn,
    report: Mapping[str, Any],
    out: Path,
    progress: Progress,
    encoder: TextEncoder | None = None,
) -> Bundle:
    """Learns from the whole window, read by ``encoder`` too, and writes the bundle, its card still without a verdict.

    Raises:
        ParityError: Where the graph does not predict what was fitted.
    """
    usable, answered, rows = usable_rows(log.table, log.counts())
    features = log.features.take(answered)
    progress.say(f"learning from all {len(usable.prompts):,} labelled decisions")
    parts = learn(usable, features)
    graph = export_graph(parts)
    difference = check_parity(parts, graph, parity_prompts(features, len(parts.models), encoder))
    progress.say(f"exported {len(graph) / 1e6:.2f} MB; parity {difference:.1e}")
    manifest = make_manifest(usable, features, parts, report, rows, encoder)
    card = make_card(usable, report, rows, manifest["fingerprints"], NOTE)
    return open_bundle(write_bundle(out, graph, manifest, card))


def with_verdict(fitted: Path, verdict: Mapping[str, Any], out: Path) -> Bundle:
    """The fitted bundle with the verdict and every reason in its card."""
    manifest = json.loads((fitted / MANIFEST).read_bytes())
    card = (fitted / CARD).read_text(encoding="utf-8")
    return open_bundle(write_bundle(out, (fitted / GRAPH).read_bytes(), manifest, card + verdict_markdown(verdict)))


def verdict_json(verdict: Verdict, against: str, champion: str | None) -> dict[str, Any]:
    """The verdict as it is kept: what it was judged against, and every reason."""
    reasons = [{"check": one.check, "passed": one.passed, "detail": one.detail} for one in verdict.reasons]
    head = {"promote": verdict.promote, "summary": verdict.summary, "against": against, "champion": champion}
    return {**head, "reasons": reasons}


def verdict_markdown(verdict: Mapping[str, Any]) -> str:
    """For the model card."""
    word = "may be promoted" if verdict["promote"] else "may not be promoted"
    lines = ["", "## The gate's verdict", "", f"Compared with {verdict['against']}, it {word}:", ""]
    lines += [
        f"- {'passed' if one['passed'] else 'FAILED'}: {one['check']}: {one['detail']}" for one in verdict["reasons"]
    ]
    return "\n".join([*lines, ""])


def version_record(
    bundle: Bundle,
    report: Mapping[str, Any],
    verdict: Mapping[str, Any],
    figures: Mapping[str, Any],
    tags: Mapping[str, str],
) -> RunRecord:
    """What MLflow keeps of the run: metrics, the verdict and every reason."""
    manifest = json.loads((bundle.path / MANIFEST).read_bytes())
    card = (bundle.path / CARD).read_text(encoding="utf-8")
    made = run_record(manifest, report, card, {}, {})
    return RunRecord(
        params=made.params,
        metrics={**made.metrics, **gate_metrics(figures)},
        tags={**made.tags, **tags, "verdict": _short(verdict)},
        documents={**made.documents, "verdict.json": json.dumps(verdict, indent=1), "gate.json": json.dumps(figures)},
    )


def _short(verdict: Mapping[str, Any]) -> str:
    """As JSON that fits a tag; where there are too many reasons, the failed ones, which come first, stay."""
    reasons = list(verdict["reasons"])
    while len(text := json.dumps({**verdict, "summary": verdict["summary"][:1000], "reasons": reasons})) > _TAG_BYTES:
        reasons.pop()
    return text


def gate_metrics(figures: Mapping[str, Any]) -> dict[str, float]:
    """The comparison's figures by dotted name."""
    found: dict[str, float] = {}
    for name in ("quality", "cost_usd"):
        for side, estimate in figures.get(name, {}).items():
            found |= {f"gate.{name}.{side}.{key}": estimate[key] for key in ("value", "ci_low", "ci_high")}
    found |= {f"gate.{name}": figures[name] for name in ("ece", "p99_ratio", "bundle_bytes") if name in figures}
    return {name: float(value) for name, value in found.items() if value is not None}
