"""What pgvector alone can get wrong: its index, its filters, databases that had none before."""

from __future__ import annotations

import logging
import random

import psycopg
import pytest

from router_runtime.memory import Memory
from router_runtime.memory.access import by_registry
from router_runtime.memory.entries import Bounds
from router_runtime.memory.pgvector import PgvectorRanking, enabled
from router_runtime.memory.ranking import LocalRanking
from router_runtime.registry_agents import AgentEntry, MemoryEntry

AGENTS = {f"a{n}": AgentEntry(f"a{n}", memory=MemoryEntry(f"s{n}", frozenset({f"s{n}"}))) for n in range(20)}
DIRECTORY = by_registry(lambda: AGENTS)
WORDS = [
    "signal",
    "switch",
    "track",
    "platform",
    "engine",
    "brake",
    "whistle",
    "tunnel",
    "bridge",
    "depot",
    "freight",
    "timetable",
]


def filled(url: str, n: int) -> Memory:
    memory, rng = Memory.open(url, DIRECTORY), random.Random(5)
    for i in range(n):
        memory.write(f"a{i % 20}", " ".join(rng.choices(WORDS, k=6)) + f" {i}")
    return memory


def local(memory: Memory) -> LocalRanking:
    return LocalRanking(memory.store, memory.encoder.fingerprint, memory.encoder.dims)


def server(memory: Memory) -> PgvectorRanking:
    ranking = memory.store.ranking(memory.encoder.fingerprint, memory.encoder.dims)
    assert isinstance(ranking, PgvectorRanking)
    return ranking


def test_the_index_ranks_as_a_comparison_of_all_does_within_every_scope(postgres_url: str) -> None:
    memory = filled(postgres_url, 1000)
    here, there, hits = local(memory), server(memory), 0
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("ANALYZE memory_entries")
    for n, text in enumerate(("freight engine", "tunnel bridge whistle 17", "depot", "engine brake track")):
        (vector,) = memory.encoder.encode([text])
        for scopes, agents in (([f"s{i}" for i in range(20)], None), ([f"s{n}"], None), (["s1", "s2"], ["a2"])):
            within = Bounds(scopes, agents, 0.0)
            wanted = here.first(text, vector, within, 10).by_meaning
            hits += len(set(wanted) & set(there.first(text, vector, within, 10).by_meaning))
    assert hits >= 0.97 * 4 * 3 * 10
    memory.close()


def test_searching_reads_the_index_and_not_the_table(postgres_url: str) -> None:
    memory = filled(postgres_url, 50)
    ranking = server(memory)
    (vector,) = memory.encoder.encode(["freight"])
    with psycopg.connect(postgres_url, autocommit=True) as db:
        ranking.first("freight", vector, Bounds(["s1"], None, 0.0), 5)
        (made,) = db.execute(
            "SELECT count(*) FROM pg_indexes WHERE tablename = 'memory_entries' AND indexdef LIKE '%hnsw%'"
        ).fetchone() or (0,)
        db.execute("SET enable_seqscan = off")  # of so few rows the table is read faster
        (plan,) = db.execute(
            "EXPLAIN (COSTS OFF) SELECT seq FROM memory_entries WHERE encoder = "
            f"'{memory.encoder.fingerprint}' ORDER BY (meaning::halfvec(192)) <#> "
            f"'[{','.join('1' * 192)}]'::halfvec LIMIT 5"
        ).fetchmany(2)[1]
    assert made == 1
    assert "memory_meaning_" in plan
    memory.close()


def test_a_database_that_gains_pgvector_makes_its_vectors_again(
    plain_postgres_url: str, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "router_runtime.memory"):
        before = filled(plain_postgres_url, 30)
    assert "let a superuser run: CREATE EXTENSION vector" in caplog.text
    assert before.store.ranking(before.encoder.fingerprint, 192) is None
    before.close()
    memory = Memory.open(postgres_url, DIRECTORY)
    assert {hit.by_meaning for hit in memory.search("freight", reader="a1")} == {None}, "found by its words meanwhile"
    assert memory.reembed(batch=7) == 30
    assert memory.reembed() == 0
    assert all(hit.by_meaning for hit in memory.search("freight", reader="a1"))
    memory.close()


def test_a_server_that_is_too_old_ranks_in_the_process(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router_runtime.memory.pgvector._LEAST", (99, 0))
    with psycopg.connect(postgres_url, autocommit=True) as db:
        assert not enabled(db)
    memory = filled(postgres_url, 20)
    assert memory.search("freight", reader="a1")
    memory.close()


def test_rows_of_an_earlier_form_are_counted_when_the_store_is_opened(plain_postgres_url: str) -> None:
    memory = filled(plain_postgres_url, 20)
    wanted = [hit.entry.id for hit in memory.search("freight engine", reader="a1")]
    memory.close()
    with psycopg.connect(plain_postgres_url, autocommit=True) as db:
        db.execute("ALTER TABLE memory_entries DROP COLUMN counted, DROP COLUMN counted_by")
    memory = Memory.open(plain_postgres_url, DIRECTORY)
    assert [hit.entry.id for hit in memory.search("freight engine", reader="a1")] == wanted
    assert any(hit.by_words for hit in memory.search("freight engine brake", reader="a1"))
    memory.close()
