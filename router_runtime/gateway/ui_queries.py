"""The dashboard's questions to the log, in SQL."""

from __future__ import annotations

from collections.abc import Mapping

NARROW: Mapping[str, str] = {
    "decision": """
    SELECT decision_id, time, e[1] AS chosen, e[2] AS arm, e[3] AS tier, coalesce(e[4], e[5], 'unknown') AS label,
        coalesce(e[6], e[7], decision_id) AS subject, coalesce(e[7], decision_id) AS session, e[8] AS policy,
        e[9] AS intent, e[10] AS agent
    FROM (SELECT decision_id, time, json_extract_string(body, ['$.chosen', '$.arm', '$.tier', '$.labels[0]',
            '$.task.domain', '$.user_hash', '$.session', '$.policy', '$.intent', '$.agent']) AS e
        FROM {events} WHERE kind = 'decision')
    WHERE e[1] IS NOT NULL""",
    "attempt": """
    SELECT decision_id, time, try_cast(e[1] AS INTEGER) AS index, e[2] AS model, coalesce(e[3], '?') AS provider,
        e[4] AS error, try_cast(e[5] AS DOUBLE) AS cost, try_cast(e[6] AS DOUBLE) AS latency_ms,
        coalesce(e[7], 'true') <> 'false' AS billed
    FROM (SELECT decision_id, time, json_extract_string(body, ['$.index', '$.model', '$.provider', '$.error',
            '$.cost_usd', '$.latency_ms', '$.billed']) AS e
        FROM {events} WHERE kind = 'attempt')""",
    "feedback": """
    SELECT decision_id, time, e[1] AS source, e[2] AS metric, try_cast(e[3] AS DOUBLE) AS value
    FROM (SELECT decision_id, time, json_extract_string(body, ['$.source', '$.metric', '$.value']) AS e
        FROM {events} WHERE kind = 'feedback')""",
}
"""By kind, events → the members that the tables are made of; a row at a time, so that files can be read one by one."""
TABLES = (
    """CREATE TEMP TABLE made AS
    SELECT decision_id, first(time) AS time, first(chosen) AS chosen, first(arm) AS arm, first(tier) AS tier,
        first(label) AS label, first(subject) AS subject, first(session) AS session, first(policy) AS policy,
        first(intent) AS intent, first(agent) AS agent
    FROM narrow_decision WHERE time >= $since GROUP BY decision_id""",
    """CREATE TEMP TABLE call AS
    SELECT decision_id, max(time) AS time, index, unnest(arg_max({'model': model, 'provider': provider,
        'error': error, 'cost': cost, 'latency_ms': latency_ms, 'billed': billed}, time))
    FROM narrow_attempt WHERE time >= $since GROUP BY decision_id, index""",
    """CREATE TEMP TABLE said AS
    SELECT decision_id, avg(value) AS quality FROM (
        SELECT decision_id, arg_max(value, time) AS value FROM narrow_feedback WHERE time >= $since
        GROUP BY decision_id, source, metric)
    WHERE value BETWEEN 0 AND 1 GROUP BY decision_id""",
    """CREATE TEMP TABLE whole AS
    SELECT made.*, ends.* EXCLUDE (decision_id), said.quality,
        row_number() OVER (ORDER BY time DESC, decision_id) AS newest
    FROM made LEFT JOIN (
        SELECT decision_id, count(*) AS attempts, count(error) AS failed, sum(cost) FILTER (billed) AS spent,
            CASE WHEN bool_and(cost IS NOT NULL) FILTER (billed) THEN sum(cost) FILTER (billed) END AS cost,
            arg_max(model, index) FILTER (error IS NULL) AS served,
            arg_max(latency_ms, index) FILTER (error IS NULL) AS latency_ms
        FROM call GROUP BY decision_id) AS ends USING (decision_id) LEFT JOIN said USING (decision_id)""",
)
"""``made`` decisions, ``call`` attempts, ``said`` quality by decision, ``whole`` all of it joined: ``spent`` is what is
known to be spent on a decision, ``cost`` the same where nothing is missing, else null."""

TOTALS = """
    SELECT count(*) AS decisions, coalesce(sum(spent), 0) AS spent_usd, count(served) AS answered,
        count(*) FILTER (attempts > 0 AND served IS NULL) AS unanswered,
        count(*) FILTER (served <> chosen) AS fallbacks, avg(quality) AS quality, count(quality) AS labelled,
        quantile_cont(latency_ms, 0.5) AS p50_ms, quantile_cont(latency_ms, 0.95) AS p95_ms FROM whole"""
RECENT = """
    SELECT decision_id AS id, time, label, tier, intent, arm, policy, chosen, served, attempts, failed,
        cost AS cost_usd, latency_ms, quality FROM whole WHERE newest <= 50 ORDER BY newest"""
MODELS = """
    SELECT coalesce(served, chosen) AS model, count(*) AS decisions, count(*) / sum(count(*)) OVER () AS share,
        coalesce(sum(spent), 0) AS spent_usd, avg(quality) AS quality, count(quality) AS labelled,
        quantile_cont(latency_ms, 0.5) AS p50_ms FROM whole GROUP BY coalesce(served, chosen)
    ORDER BY decisions DESC, model"""
CELLS = """
    SELECT label, coalesce(served, chosen) AS model, count(*) AS decisions,
        count(*) / sum(count(*)) OVER (PARTITION BY label) AS share, avg(quality) AS quality, count(quality) AS labelled
    FROM whole WHERE label IN (SELECT label FROM whole GROUP BY label ORDER BY count(*) DESC, label LIMIT 15)
    GROUP BY label, coalesce(served, chosen) ORDER BY label, model"""
PROVIDERS = """
    SELECT provider, count(*) AS calls, count(error) AS failed,
        quantile_cont(latency_ms, 0.5) FILTER (error IS NULL) AS p50_ms,
        quantile_cont(latency_ms, 0.95) FILTER (error IS NULL) AS p95_ms,
        mode(error) AS usual_error FROM call GROUP BY ALL ORDER BY calls DESC, provider"""
SERIES = """
    SELECT floor((time - $since) / $step)::INTEGER AS place, count(*) AS decisions,
        coalesce(sum(spent), 0) AS spent_usd,
        count(*) FILTER (attempts > 0 AND served IS NULL) AS unanswered FROM whole GROUP BY ALL ORDER BY place"""
TIERS = """
    SELECT coalesce(tier, 'none') AS tier, count(*) AS decisions, coalesce(sum(spent), 0) AS spent_usd,
        avg(quality) AS quality FROM whole GROUP BY ALL ORDER BY decisions DESC, tier"""
AGENTS = """
    SELECT agent, count(*) AS decisions, coalesce(sum(spent), 0) AS spent_usd, avg(quality) AS quality,
        count(quality) AS labelled FROM whole WHERE agent IS NOT NULL GROUP BY ALL ORDER BY decisions DESC, agent"""
SUBJECTS = """
    SELECT arm, sum(cost) AS cost, count(cost)::DOUBLE AS priced, coalesce(sum(quality), 0) AS quality,
        count(quality)::DOUBLE AS labelled, count(*)::DOUBLE AS decisions
    FROM whole WHERE arm IS NOT NULL
    GROUP BY arm, CASE WHEN list_contains($by_session, split_part(arm, '/', 1)) THEN session ELSE subject END"""
"""``$by_session``: names of the experiments that deal sessions, not users, to their arms."""
