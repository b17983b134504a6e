"""Decisions of a log that tell their request; the others can be neither learnt from nor evaluated on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc

from router_runtime.errors import NotSupported
from training.log_events import LogEvents

NO_REQUEST = "decision without its request (log_prompts: none)"
NO_TEXT = "decision without its text, which the encoder reads (log_prompts: features)"
FEEDBACK = "feedback on a decision without its request"
_NONE_AT_ALL = (
    "the log keeps no requests (log_prompts: none), so nothing can be learnt from it or said of another router; log "
    "with --log-prompts redacted (or features), in Python log_prompts='redacted'"
)
_NO_TEXT_AT_ALL = (
    "the log keeps no text of its {:,} requests, which the encoder reads: log with log_prompts full or redacted, or "
    "use a registry that names no encoder"
)


def told(events: LogEvents, by_text: bool) -> LogEvents:
    """The log without the decisions that keep neither prompt nor features, and without feedback on them, all counted.

    Kept as empty requests they would be one request that every model has answered (a privacy setting that changes in
    the middle of a week), and a router would be judged by what it says to nothing.

    Args:
        events: What was read.
        by_text: Features do not do: an encoder reads the texts.

    Raises:
        NotSupported: Where none is left.
    """
    prompt = events.decisions["prompt"].is_valid().to_numpy()
    features = events.decisions["feature_ids"].is_valid().to_numpy()
    keep = prompt if by_text else prompt | features
    if keep.all():
        return events
    if not keep.any():
        raise NotSupported(_NO_TEXT_AT_ALL.format(len(keep)) if by_text else _NONE_AT_ALL)
    lost = events.decisions["decision_id"].filter(~keep)
    gone = pc.is_in(events.feedback["decision_id"], value_set=lost.combine_chunks())
    counts = {
        NO_REQUEST: int((~prompt & ~features).sum()),
        NO_TEXT: int((~keep & features).sum()),
        FEEDBACK: int(np.count_nonzero(gone.to_numpy())),
    }
    skipped = {**events.report.skipped, **{reason: count for reason, count in counts.items() if count}}
    report = replace(events.report, used=events.report.used - sum(counts.values()), skipped=skipped)
    return replace(
        events, decisions=events.decisions.filter(keep), feedback=events.feedback.filter(pc.invert(gone)), report=report
    )
