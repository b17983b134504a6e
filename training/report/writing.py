"""Reads a log and writes the report: ``report.html``, ``report.md``, ``report.json``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router_runtime.manifest import Manifest
from router_runtime.registry import Registry
from training.labels import LabelRules
from training.report.facts import Question, gather
from training.report.html import page
from training.report.markdown import markdown
from training.report.reading import read_report_log


@dataclass(frozen=True)
class Written:
    """A report that was written.

    Args:
        facts: All that it says, JSON-ready.
        html, markdown, json: Its files.
    """

    facts: dict[str, Any]
    html: Path
    markdown: Path
    json: Path


def write_report(
    log: Path,
    out: Path,
    question: Question | None = None,
    *,
    registry: Registry | None = None,
    rules: LabelRules | None = None,
    manifest: Manifest | None = None,
) -> Written:
    """Writes the report of a log folder into the folder ``out``.

    Args:
        log: The log's folder (of a remote store: :func:`training.store_window.local_log`).
        out: Made where it is missing; its three files are replaced.
        question: The window and the baseline; all of the log by default.
        registry: Names the baseline arms and the labels' present weights; None = the log alone.
        rules: How labels are made of feedback.
        manifest: Of the bundle whose training the window is compared with.

    Raises:
        DataError: Where there is no log, a file cannot be read, or no decision is in the window.
        ConfigError: Where the baseline asked for is no model of the log.
    """
    question = question or Question(source=log.name or str(log))
    read = read_report_log(log, since=question.since, until=question.until, rules=rules)
    facts = gather(read, question, registry, manifest)
    out.mkdir(parents=True, exist_ok=True)
    written = Written(facts, *(out / f"report.{kind}" for kind in ("html", "md", "json")))
    text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)
    # The facts last: where they stand, the pages do, too.
    for path, made in ((written.html, page(facts)), (written.markdown, markdown(facts)), (written.json, text + "\n")):
        _put(path, made)
    return written


def _put(path: Path, text: str) -> None:
    """Writes a file that appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
