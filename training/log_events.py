"""Events of a log → checked rows, one for each decision, attempt and feedback; the joins run in DuckDB.

Rules: an event that comes twice (a seal that was repeated, a spool beside its sealed file) counts once; of two
attempts with one index the later holds; a malformed event is rejected with file, row, field and reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from router_runtime.errors import DataError, RowError
from router_runtime.features import FEATURES_VERSION, STRUCTURAL
from training.event_log import EVENT_SCHEMA, day_of, sealed_files, spooled_events
from training.log_calls import make_calls
from training.validation import EXAMPLES, MAX_BAD_SHARE, RowReport

_MEMORY_LIMIT = "4GB"
_BODY = re.compile(r"\bb\.")
_TWICE = "{} that came twice"

_SHAPES: Mapping[str, str] = {
    "decision": """{"chosen": "VARCHAR", "propensity": "DOUBLE", "session": "VARCHAR", "tier": "VARCHAR",
        "user_hash": "VARCHAR", "intent": "VARCHAR", "arm": "VARCHAR", "labels": ["VARCHAR"], "policy": "VARCHAR",
        "policy_version": "VARCHAR", "bundle_version": "VARCHAR", "price_version": "VARCHAR", "prompt": "VARCHAR",
        "features": {"version": "INTEGER", "ids": ["USMALLINT"], "structural": ["FLOAT"]},
        "counts": "MAP(VARCHAR, BIGINT)",
        "task": {"domain": "VARCHAR"}, "agent": "VARCHAR", "agent_propensity": "DOUBLE",
        "agent_dist": "MAP(VARCHAR, DOUBLE)", "matched_intent": "VARCHAR",
        "candidates": [{"model": "VARCHAR", "probability": "DOUBLE", "quality": "DOUBLE", "cost_usd": "DOUBLE"}]}""",
    "attempt": """{"index": "BIGINT", "model": "VARCHAR", "provider": "VARCHAR", "status": "BIGINT",
        "error": "VARCHAR", "input_tokens": "DOUBLE", "output_tokens": "DOUBLE", "cost_usd": "DOUBLE",
        "billed": "BOOLEAN", "latency_ms": "DOUBLE", "first_token_ms": "DOUBLE", "response_model": "VARCHAR"}""",
    "feedback": """{"metric": "VARCHAR", "value": "DOUBLE", "source": "VARCHAR"}""",
}
"""Members that are read of each kind; another type than this reads as null."""

_CHECKS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "decision": (
        ("b.chosen IS NULL", "chosen: is missing"),
        ("b.propensity IS NULL", "propensity: is missing"),
        ("NOT (b.propensity > 0 AND b.propensity <= 1)", "propensity: is not in 0..1"),
        ("coalesce(len(b.candidates), 0) = 0", "candidates: are missing"),
        ("list_count([c.model FOR c IN b.candidates]) < len(b.candidates)", "candidates: one names no model"),
        ("list_position([c.model FOR c IN b.candidates], b.chosen) IS NULL", "chosen: is not among the candidates"),
        (
            "list_unique([c.model FOR c IN b.candidates]) < list_count([c.model FOR c IN b.candidates])",
            "candidates: name a model twice",
        ),
        ("NOT coalesce(list_min([c.probability FOR c IN b.candidates]) >= 0, false)", "candidates: lack a probability"),
        (
            "NOT coalesce(abs(list_sum([c.probability FOR c IN b.candidates]) - 1) <= 1e-6, false)",
            "candidates: probabilities do not sum to 1",
        ),
        (
            "NOT coalesce(abs(list_sum([c.probability FOR c IN b.candidates IF c.model = b.chosen]) - b.propensity)"
            " <= 1e-6, false)",
            "propensity: is not the probability of the chosen model",
        ),
        ("coalesce(list_min(map_values(b.counts)) < 0, false)", "counts: are below 0"),
        (f"b.features.version <> {FEATURES_VERSION}", "features: are of another version"),
        (
            "b.features IS NOT NULL AND NOT coalesce(list_count(b.features.ids) = len(b.features.ids)"
            f" AND list_count(b.features.structural) = {len(STRUCTURAL)}"
            f" AND len(b.features.structural) = {len(STRUCTURAL)}, false)",
            f"features: are not hash ids and {len(STRUCTURAL)} structural numbers",
        ),
    ),
    "attempt": (
        ("b.model IS NULL", "model: is missing"),
        ("b.index IS NULL OR b.index < 0", "index: is not a whole number from 0"),
        ("b.cost_usd < 0 OR NOT coalesce(isfinite(b.cost_usd), true)", "cost_usd: is not a finite number from 0"),
        ("b.input_tokens < 0 OR b.output_tokens < 0", "tokens: are below 0"),
        ("NOT coalesce(isfinite(b.input_tokens + b.output_tokens), true)", "tokens: are not finite"),
        ("b.latency_ms < 0 OR NOT coalesce(isfinite(b.latency_ms), true)", "latency_ms: is not a finite number from 0"),
    ),
    "feedback": (
        ("b.value IS NULL", "value: is missing"),
        ("NOT (b.value >= 0 AND b.value <= 1)", "value: is not in 0..1"),
        ("b.metric IS NULL", "metric: is missing"),
        (
            "NOT coalesce(b.source IN ('user', 'judge', 'test', 'implicit'), false)",
            "source: is not user, judge, test or implicit",
        ),
    ),
}

_DECISIONS = """
    SELECT decision_id, time, b.chosen AS chosen, b.propensity AS pscore, b.session AS session, b.tier AS tier,
        b.user_hash AS user_hash, b.intent AS intent, b.arm AS arm, b.policy AS policy,
        b.policy_version AS policy_version, b.bundle_version AS bundle_version, b.price_version AS price_version,
        coalesce(b.labels[1], b.task.domain, 'unknown') AS task, coalesce(b.task.domain, 'unknown') AS domain,
        b.prompt AS prompt, to_json(b.counts)::VARCHAR AS counts,
        b.features.ids AS feature_ids, b.features.structural AS structural,
        [c.model FOR c IN b.candidates] AS candidates, [c.probability FOR c IN b.candidates] AS probability,
        [c.quality FOR c IN b.candidates] AS predicted_quality, [c.cost_usd FOR c IN b.candidates] AS predicted_cost,
        b.matched_intent AS matched_intent, b.agent AS agent, b.agent_propensity AS agent_pscore,
        map_keys(b.agent_dist) AS agents, map_values(b.agent_dist) AS agent_probability,
        calls.* EXCLUDE (decision_id)
    FROM {made} AS made LEFT JOIN calls USING (decision_id)"""
_ALL = "(SELECT * FROM decision WHERE reason IS NULL)"
_FIRST = (
    "(SELECT * FROM decision WHERE reason IS NULL"
    " QUALIFY row_number() OVER (PARTITION BY decision_id ORDER BY time, file, row) = 1)"
)
FEEDBACK = """
    SELECT decision_id, b.metric AS metric, b.value AS value, b.source AS source, time FROM feedback
    WHERE reason IS NULL QUALIFY row_number() OVER (PARTITION BY event ORDER BY time, file, row) = 1
    ORDER BY time, file, row"""


@dataclass(frozen=True, eq=False)
class LogEvents:
    """The checked rows of a log.

    Args:
        decisions: One row for each decision in order of time, with its attempts joined.
        feedback: ``decision_id, metric, value, source, time``.
        report: What became of the events.
        kinds: Good events by kind, each once.
    """

    decisions: pa.Table
    feedback: pa.Table
    report: RowReport
    kinds: Mapping[str, int] = field(default_factory=dict)


def read_events(
    root: Path,
    *,
    since: float | None = None,
    until: float | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
) -> LogEvents:
    """Reads the sealed days and the spools of the log in ``root``.

    Args:
        root: The log's folder.
        since, until: Decisions with since ≤ time < until (UTC seconds since the epoch); feedback may be later.
        max_bad_share: Bound on malformed events of a kind, 0..1.

    Raises:
        DataError: Where there is no log, a file cannot be read, or no decision is left.
        TooManyBadRows: Above the bound.
    """
    with checked_log(root, since=since, until=until, max_bad_share=max_bad_share) as (db, report, kinds):
        decisions = _arrow(db, _DECISIONS.format(made=_FIRST if _TWICE.format("decision") in report.skipped else _ALL))
        feedback = _arrow(db, FEEDBACK)
    return LogEvents(_in_order(decisions), feedback, report, kinds)  # sorted now that the database's memory is free


class CheckedLog(NamedTuple):
    """A log as DuckDB views ``decision``, ``attempt``, ``feedback`` (``decision_id, time, b, reason``) and a table
    ``calls``, one row for each decision with attempts; good rows have a null ``reason``.
    """

    db: duckdb.DuckDBPyConnection
    report: RowReport
    kinds: dict[str, int]


@contextmanager
def checked_log(
    root: Path,
    *,
    since: float | None = None,
    until: float | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
) -> Iterator[CheckedLog]:
    """The checked events of a log, to be asked as long as the block lives. (Arguments of :func:`read_events`.)

    Raises:
        DataError: As there.
        TooManyBadRows: Above the bound.
    """
    with duckdb.connect(":memory:") as db:
        db.execute(f"SET memory_limit = '{_MEMORY_LIMIT}'; SET preserve_insertion_order = false")
        with suppress(duckdb.InvalidInputException):  # a notebook without ipywidgets has no bar to turn off
            db.execute("SET enable_progress_bar = false")
        try:
            yield _checked(db, root, (since, until), max_bad_share)
        except duckdb.Error as error:
            raise DataError(f"{root} cannot be read as a log ({str(error).splitlines()[0]})") from error


def _checked(
    db: duckdb.DuckDBPyConnection, root: Path, window: tuple[float | None, float | None], max_bad_share: float
) -> CheckedLog:
    _read(db, root, window)
    report = RowReport()
    kinds: dict[str, int] = {}
    for kind in _SHAPES:
        found = _report(db, kind)
        if found.seen:
            found.require(f"{root}, {kind}s", max_bad_share)
        kinds[kind] = found.used
        report += found
    report += _unknown_kinds(db)
    if not kinds["decision"]:
        raise _none(root, window)
    return CheckedLog(db, report + make_calls(db), kinds)


def _in_order(decisions: pa.Table) -> pa.Table:
    """By time, then by id; left alone where it is so already, because sorting copies every prompt."""
    times = decisions["time"].to_numpy()
    if (times[1:] > times[:-1]).all():
        return decisions
    return decisions.sort_by([("time", "ascending"), ("decision_id", "ascending")])


def _read(db: duckdb.DuckDBPyConnection, root: Path, window: tuple[float | None, float | None]) -> None:
    """Parses the log as it is at one moment, while a sealer takes spools and old days are deleted."""
    spools = _registered(db, root)
    while True:
        files = _listed(root, window, spools)
        _view(db, root, files, spools)
        try:
            _parse(db, window)
            return
        except duckdb.IOException:
            if all(path.exists() for path in files):
                raise
            db.execute("DROP VIEW events")  # a day was deleted after it had been listed: read what is left


def _registered(db: duckdb.DuckDBPyConnection, root: Path) -> dict[Path, str]:
    """The spools by the table that each was read into."""
    spools = {}
    for place, (path, events) in enumerate(spooled_events(root)):
        db.register(f"spool_{place}", events)
        spools[path] = f"spool_{place}"
    return spools


def _listed(root: Path, window: tuple[float | None, float | None], spools: Mapping[Path, str]) -> list[Path]:
    """The sealed files from the day on that the window begins, less those of spools that have been read already."""
    first = "" if window[0] is None else f"day={day_of(window[0])}"
    found, read = sealed_files(root), {path.stem for path in spools}
    files = [path for path in found if path.parent.name >= first and path.stem not in read]
    if found and not files and not spools:
        raise _none(root, window)
    return [path for path in files if _require_schema(path)]


def _view(db: duckdb.DuckDBPyConnection, root: Path, files: Sequence[Path], spools: Mapping[Path, str]) -> None:
    """Makes the view ``events`` of all of these."""
    parts = []
    if files:
        listed = ", ".join(_quoted(path) for path in files)
        parts.append(
            f"SELECT {', '.join(EVENT_SCHEMA.names)}, filename AS file, file_row_number + 1 AS row"  # noqa: S608
            f" FROM read_parquet([{listed}], filename = true, file_row_number = true, hive_partitioning = false)"
        )
    for path, table in spools.items():
        parts.append(f"SELECT *, {_quoted(path)} AS file, row_number() OVER () AS row FROM {table}")  # noqa: S608 - a quoted path
    if not parts:
        raise DataError(f"{root} holds no log: a log is a folder of day=YYYY-MM-DD/*.parquet or spool/*.sqlite")
    db.execute(f"CREATE TEMP VIEW events AS {' UNION ALL '.join(parts)}")


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _require_schema(path: Path) -> bool:
    """Whether the file is there; where it is, it is one of events."""
    try:
        found = pq.read_schema(path)
    except FileNotFoundError:
        return False
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file; move it away to read the rest of the log") from error
    lacking = [name for name in EVENT_SCHEMA.names if name not in found.names]
    if lacking:
        raise DataError(f"{path} lacks the column {lacking[0]!r} of an event log")
    return True


def _parse(db: duckdb.DuckDBPyConnection, window: tuple[float | None, float | None]) -> None:
    """Makes a view of each kind: keys, place, parsed body ``b`` and the reason for a rejection; files are read once."""
    bodies, reasons = [], []
    for kind, shape in _SHAPES.items():
        bodies.append(
            f"CASE WHEN kind = '{kind}' AND json_valid(body) THEN json_transform(body, '{shape}') END AS {kind}_body"
        )
        tests = ((_BODY.sub(f"{kind}_body.", bad), why) for bad, why in _CHECKS[kind])
        checks = " ".join(f"WHEN {bad} THEN '{why}'" for bad, why in tests)
        reasons.append(f"WHEN kind = '{kind}' THEN CASE {checks} END")
    low, high = (("-inf", "inf")[i] if edge is None else repr(float(edge)) for i, edge in enumerate(window))
    outside = f"kind = 'decision' AND (time < '{low}'::DOUBLE OR time >= '{high}'::DOUBLE)"
    db.execute(
        f"""CREATE TEMP TABLE parsed AS
        SELECT * EXCLUDE (event), hash(CASE WHEN kind = 'decision' THEN decision_id ELSE event END) AS event,
            CASE WHEN NOT valid THEN 'body: is not JSON' WHEN decision_id = '' THEN 'decision_id: is missing'
            WHEN NOT isfinite(time) THEN 'time: is not finite' {" ".join(reasons)} END AS reason
        FROM (SELECT file, row, kind, id AS event, decision_id, time, json_valid(body) AS valid, {", ".join(bodies)}
            FROM events WHERE NOT ({outside}))"""  # noqa: S608 - our own texts
    )
    for kind in _SHAPES:
        db.execute(
            f"CREATE TEMP VIEW {kind} AS SELECT file, row, event, decision_id, time, {kind}_body AS b, reason"  # noqa: S608
            f" FROM parsed WHERE kind = '{kind}'"
        )


def _report(db: duckdb.DuckDBPyConnection, kind: str) -> RowReport:
    """Counts of a parsed kind, with the first rejected events."""
    counts: dict[str | None, int] = dict(_rows(db, f"SELECT reason, count(*) FROM {kind} GROUP BY reason"))  # noqa: S608
    good = counts.pop(None, 0)
    used = int(_rows(db, f"SELECT count(DISTINCT event) FROM {kind} WHERE reason IS NULL")[0][0])  # noqa: S608
    skipped = {_TWICE.format(kind): good - used} if good > used else {}
    rejected = {f"{kind}.{reason}": count for reason, count in counts.items()}
    bad = _rows(
        db,
        f"SELECT file, row, reason FROM {kind} WHERE reason IS NOT NULL"  # noqa: S608
        f" ORDER BY file, row LIMIT {EXAMPLES}",
    )
    examples = []
    for file, row, reason in bad:
        member, _, why = str(reason).partition(": ")
        examples.append(RowError(why, file=str(file), row=int(row), field=f"{kind}.{member}"))
    seen = good + sum(counts.values())
    return RowReport(seen=seen, used=used, rejected=rejected, skipped=skipped, examples=tuple(examples))


def _unknown_kinds(db: duckdb.DuckDBPyConnection) -> RowReport:
    """Events of kinds that a later version may have added: left out and counted."""
    kinds = ", ".join(f"'{kind}'" for kind in _SHAPES)
    found = _rows(db, f"SELECT count(*) FROM parsed WHERE kind NOT IN ({kinds})")  # noqa: S608
    count = int(found[0][0])
    return RowReport(seen=count, skipped={"unknown kind of event": count} if count else {})


def _rows(db: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return db.execute(query).fetchall()


def _arrow(db: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    return db.sql(query).to_arrow_table()


def _none(root: Path, window: tuple[float | None, float | None]) -> DataError:
    """That the window holds no decision, and which days there are."""
    low, high = (None if edge is None else f"{datetime.fromtimestamp(edge, UTC):%Y-%m-%dT%H:%M:%SZ}" for edge in window)
    asked = "".join([f" from {low}" if low else "", f" to {high}" if high else ""])
    days = [path.parent.name.removeprefix("day=") for path in sealed_files(root)]
    there = f"; its sealed days are {days[0]} to {days[-1]}, so choose --since and --until among them" if days else ""
    return DataError(f"{root} holds no decisions{asked}{there if asked else ''}")
