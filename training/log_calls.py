"""Attempts → the table ``calls``: what each decision's attempts came to, and what they cost.

A billed attempt whose cost nobody logged (a stream that broke off, usage that never came) was not free: it is priced by
its tokens at what the model's other calls cost, and where that is not known either, so is the cost of its decision.
"""

from __future__ import annotations

import duckdb

from training.prices import implied_prices
from training.validation import RowReport

PRICED = "cost of an attempt from tokens × the price that other calls imply"
UNKNOWN = "cost of an attempt unknown, so that its decision has none"
_SAMPLE = 20_000

_ATTEMPTS = """
    CREATE TEMP VIEW billing AS
    WITH paid AS (SELECT DISTINCT b.model AS model FROM attempt WHERE reason IS NULL AND b.cost_usd > 0)
    SELECT decision_id, event, time, file, row, b.* EXCLUDE (cost_usd), coalesce(b.billed, true) AS counts,
        CASE WHEN b.cost_usd = 0 AND b.input_tokens IS NULL AND b.output_tokens IS NULL
            AND b.model IN (SELECT model FROM paid) THEN NULL ELSE b.cost_usd END AS cost_usd
    FROM attempt WHERE reason IS NULL"""
_LACKING = "counts AND cost_usd IS NULL"
_KNOWN = f"""
    SELECT model, input_tokens, output_tokens, cost_usd FROM billing WHERE counts AND cost_usd IS NOT NULL AND model = ?
    ORDER BY hash(event) LIMIT {_SAMPLE}"""  # noqa: S608 - a number
_COUNT = f"""
    SELECT count(DISTINCT event) FILTER (price IS NOT NULL), count(DISTINCT event) FILTER (price IS NULL) FROM (
        SELECT event, input_tokens * per_in + output_tokens * per_out AS price
        FROM billing SEMI JOIN decision USING (decision_id) LEFT JOIN prices USING (model) WHERE {_LACKING})"""  # noqa: S608 - our own text
_CALLS = """
    CREATE TEMP TABLE calls AS
    WITH latest AS (
        SELECT * FROM billing
        QUALIFY row_number() OVER (PARTITION BY decision_id, index ORDER BY time DESC, file, row) = 1),
    each AS (
        SELECT latest.* EXCLUDE (cost_usd),
            coalesce(cost_usd, (input_tokens * per_in + output_tokens * per_out) / 1e6) AS cost_usd
        FROM latest LEFT JOIN prices USING (model))
    SELECT decision_id, count(*) AS attempts,
        CASE WHEN bool_and(cost_usd IS NOT NULL) FILTER (counts) THEN sum(cost_usd) FILTER (counts) END
            AS total_cost_usd,
        arg_max(model, index) FILTER (error IS NULL) AS served,
        arg_max({'i': input_tokens, 'o': output_tokens, 'c': cost_usd, 'l': latency_ms}, index)
            FILTER (error IS NULL) AS answer
    FROM each GROUP BY decision_id"""


def make_calls(db: duckdb.DuckDBPyConnection) -> RowReport:
    """Makes the table ``calls`` of the good events of the view ``attempt``: one row for each decision with attempts.

    ``total_cost_usd`` is null where no attempt was billed, or the cost of one is not known. Of two attempts with one
    index the later holds.

    Returns:
        How many costs of attempts were filled in, and how many are not known.
    """
    db.execute(_ATTEMPTS)
    db.execute("CREATE TEMP TABLE prices (model VARCHAR, per_in DOUBLE, per_out DOUBLE)")
    lacking = db.execute(f"SELECT DISTINCT model FROM billing WHERE {_LACKING}").fetchall()  # noqa: S608 - our own text
    for (model,) in sorted(lacking):
        per_in, per_out = implied_prices(db.execute(_KNOWN, [model]).df(), [model])[model]
        if per_in >= 0:  # not NaN
            db.execute("INSERT INTO prices VALUES (?, ?, ?)", [model, per_in, per_out])
    db.execute(_CALLS)
    if not lacking:
        return RowReport()
    ((priced, unknown),) = db.execute(_COUNT).fetchall()
    return RowReport(filled={name: count for name, count in ((PRICED, priced), (UNKNOWN, unknown)) if count})
