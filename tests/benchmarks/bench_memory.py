"""The shared memory at size: ``python -m tests.benchmarks.bench_memory --data ../shared/data --out DIR``.

Writes 100,000 memories from the prompts of the real tables (their halves and tails, so that there are enough), with 8
threads; then searches as agents do: with a part of a text that is there, with a few of its words, and with the text of
another prompt. Recall is against an exact search of our own in this file: BM25 by its formula over every word of the
query, all vectors compared in float64, both fused by the same rule. ``--store pgvector`` starts a PostgreSQL of its own
and measures that store; the server ranks words by its own rule, so that its recall is of the vectors' ranking alone.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from router_runtime.memory import HashEncoder, Memory
from router_runtime.memory.access import by_registry
from router_runtime.memory.entries import Bounds
from router_runtime.memory.keywords import words_of
from router_runtime.memory.memory import DEPTH, FUSION
from router_runtime.memory.ranking import LocalRanking
from router_runtime.registry_agents import AgentEntry, MemoryEntry
from tests.postgres_server import postgres_server

TABLES = ("mmlu_pro", "zeroeval", "llmrouter", "bfcl", "routellm")
BARS = {"recall_at_10": 0.95, "search_p99_ms": 20.0, "writes_per_s": 500.0}
AGENTS = {name: AgentEntry(name, memory=MemoryEntry("team", frozenset({"team"}))) for name in ("one", "two", "three")}


def texts_of(data: Path, n: int) -> list[str]:
    """``n`` texts: prompts, then their halves and quarters."""
    prompts = []
    for table in TABLES:
        path = data / table / "prompts.parquet"
        if path.exists():
            prompts += [text for text in pq.read_table(path, columns=["text"])["text"].to_pylist() if text.strip()]
    parts = [
        text[len(text) * i // pieces : len(text) * (i + 1) // pieces] for pieces in (1, 2, 3, 4) for text in prompts
        for i in range(pieces)
    ]  # fmt: skip
    found = list(dict.fromkeys(part[:2000] for part in parts if len(part.strip()) > 20))
    return [found[i % len(found)] if i < len(found) else f"{found[i % len(found)]} ({i})" for i in range(n)]


def write_all(memory: Memory, texts: list[str], threads: int) -> float:
    """Writes a second, over ``threads`` writers."""
    agents = list(AGENTS)

    def work(first: int) -> None:
        for n in range(first, len(texts), threads):
            memory.write(agents[n % len(agents)], texts[n])

    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(texts) / (time.perf_counter() - started)


def queries_of(texts: list[str], n: int, rng: np.random.Generator) -> list[str]:
    """A third parts of stored texts, a third a few of their words, a third whole texts."""
    found = []
    for i, place in enumerate(rng.choice(len(texts), n, replace=False)):
        words = texts[place].split()
        start = int(rng.integers(0, max(len(words) - 12, 1)))
        part = (words[start : start + 12], list(rng.permutation(words)[:5]), words)[i % 3]
        found.append(" ".join(part))
    return found


class Exact:
    """Everything compared with everything."""

    def __init__(self, texts: dict[int, str], vectors: np.ndarray) -> None:
        self.seqs = np.array(list(texts))
        self.words = [Counter(words_of(text)) for text in texts.values()]
        self.lengths = np.array([sum(words.values()) for words in self.words], dtype=np.float64)
        self.vectors = vectors.astype(np.float64)
        self.holders: dict[str, list[int]] = {}
        for place, words in enumerate(self.words):
            for word in words:
                self.holders.setdefault(word, []).append(place)

    def by_words(self, asked: list[str]) -> list[int]:
        """BM25 (k1 = 1.2, b = .75)."""
        scores: Counter[int] = Counter()
        usual = self.lengths.mean()
        for word in asked:
            places = self.holders.get(word, [])
            idf = max(math.log((len(self.words) - len(places) + 0.5) / (len(places) + 0.5)), 1e-6)
            for place in places:
                often = self.words[place][word]
                norm = often + 1.2 * (0.25 + 0.75 * self.lengths[place] / usual)
                scores[place] += idf * often * 2.2 / norm
        best = sorted(scores, key=lambda place: (-round(scores[place], 9), -place))[:DEPTH]
        return [int(self.seqs[place]) for place in best]

    def by_meaning(self, query: np.ndarray) -> list[int]:
        """Cosine."""
        alike = self.vectors @ query.astype(np.float64)
        best = np.lexsort((-np.arange(len(alike)), -alike))[:DEPTH]
        return [int(self.seqs[place]) for place in best if alike[place] > 0]

    def fused(self, asked: list[str], query: np.ndarray, k: int) -> list[int]:
        """Reciprocal ranks."""
        scores: Counter[int] = Counter()
        for ranking in (self.by_words(asked), self.by_meaning(query)):
            for place, seq in enumerate(ranking, 1):
                scores[seq] += 1.0 / (FUSION + place)
        return sorted(scores, key=lambda seq: (-scores[seq], -seq))[:k]


def recall(memory: Memory, queries: list[str]) -> float:
    """Share of the exact first ten that are found."""
    entries = memory.store.fetch([row.seq for row in memory.store.placed(0)])
    encoder = memory.encoder
    stored = {seq: entry.text for seq, entry in entries.items()}
    exact = Exact(stored, np.vstack([encoder.encode([text]) for text in stored.values()]))
    by_id = {entry.id: seq for seq, entry in entries.items()}
    shares = []
    for query in queries:
        found = {by_id[hit.entry.id] for hit in memory.search(query, reader="one", k=10)}
        wanted = exact.fused(list(dict.fromkeys(words_of(query))), encoder.encode([query])[0], 10)
        shares.append(len(found & set(wanted)) / max(len(wanted), 1))
    return float(np.mean(shares))


def recall_by_meaning(memory: Memory, queries: list[str]) -> float:
    """Share of the ten nearest of all vectors that the store's ranking finds."""
    exact = LocalRanking(memory.store, memory.encoder.fingerprint, memory.encoder.dims)
    within, shares = Bounds(sorted(memory.access("one").read), None, memory.clock()), []
    for query in queries:
        (vector,) = memory.encoder.encode([query])
        wanted, found = (one.first(query, vector, within, 10).by_meaning for one in (exact, memory.ranking()))
        shares.append(len(set(found) & set(wanted)) / max(len(wanted), 1))
    return float(np.mean(shares))


@contextmanager
def place(store: str, folder: Path) -> Iterator[str | Path]:
    """Where the memory shall be; the server ends with the block."""
    if store == "sqlite":
        yield folder / "memory.sqlite"
        return
    with postgres_server(fsync=True) as url:
        yield url


def run(data: Path, store: str, n: int, searches: int, checked: int, threads: int) -> dict[str, Any]:
    """All figures."""
    texts, rng = texts_of(data, n), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder, place(store, Path(folder)) as where:
        memory = Memory.open(where, by_registry(lambda: AGENTS), HashEncoder())
        memory.ranking()  # what indexes there are stand before the first write, as in a service
        writes = write_all(memory, texts, threads)
        queries = queries_of(texts, searches, rng)
        started = time.perf_counter()
        memory.search(queries[0], reader="one")
        first_ms = (time.perf_counter() - started) * 1e3
        times = []
        for query in queries:
            started = time.perf_counter()
            memory.search(query, reader="one")
            times.append((time.perf_counter() - started) * 1e3)
        share = (recall if store == "sqlite" else recall_by_meaning)(memory, queries[:checked])
        started = time.perf_counter()
        memory.forget("one", ids=[memory.write("one", "something to forget")])
        forget_s = time.perf_counter() - started
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        memory.close()
    return {
        "store": store,
        "memories": n,
        "writers": threads,
        "writes_per_s": round(writes, 1),
        "first_search_ms": round(first_ms, 1),
        "search_p50_ms": round(float(np.percentile(times, 50)), 2),
        "search_p99_ms": round(float(np.percentile(times, 99)), 2),
        "searches": len(times),
        "recall_at_10": round(share, 4),
        "recall_queries": checked,
        "forget_one_s": round(forget_s, 2),
        "file_mb": round(size / 1e6, 1),
        "bars": BARS,
    }


def main() -> None:
    """Runs and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("tests/benchmarks/report/memory"))
    parser.add_argument("--store", choices=("sqlite", "pgvector"), default="sqlite")
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=2000)
    parser.add_argument("--checked", type=int, default=150)
    parser.add_argument("--threads", type=int, default=8)
    args = parser.parse_args()
    report = run(args.data, args.store, args.n, args.searches, args.checked, args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    name = "memory" if args.store == "sqlite" else f"memory_{args.store}"
    (args.out / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
    rows = "".join(f"| {key} | {value} |\n" for key, value in report.items() if key != "bars")
    (args.out / f"{name}.md").write_text(f"# Shared memory\n\n| what | figure |\n|---|---|\n{rows}")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
