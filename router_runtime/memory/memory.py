"""The memory's face: write, search, forget, each on behalf of an agent whose scopes bound it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from router_runtime.encoder import Encoder
from router_runtime.errors import MemoryRefused, PointsmanError, RequestError, StoreError
from router_runtime.memory.access import Access, Directory
from router_runtime.memory.encoders import ClosingEncoder, HashEncoder, packed
from router_runtime.memory.entries import Bounds, Entry, Found, MemoryStore, Ranked, Ranking
from router_runtime.memory.keywords import said
from router_runtime.memory.ranking import LocalRanking
from router_runtime.memory.sqlite_store import SqliteMemory
from router_runtime.records import uuid7

MAX_TEXT = 100_000
FUSION = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""
DEPTH = 50
"""Hits of each ranking that are fused."""
_REEMBED_BATCH = 256
_PURGE_EVERY = 100
_HARMLESS = "harmless"
_LOG = logging.getLogger("router_runtime.memory")


@dataclass(slots=True)
class _Pending:
    """A write that waits for its commit."""

    entry: Entry
    vector: bytes
    done: threading.Event = field(default_factory=threading.Event)
    error: StoreError | None = None


class Memory:
    """What agents write and find; any number of threads may use one. Made by :meth:`open`.

    Args:
        store: Where entries live.
        directory: Agent → what it may do; raises MemoryRefused for strangers.
        encoder: Makes the vectors.
        clock: UTC seconds since the epoch.
        keep: Most entries by scope (for a while a hundred more); the oldest go first. Other scopes keep all.
    """

    def __init__(
        self,
        store: MemoryStore,
        directory: Directory,
        encoder: Encoder | None = None,
        clock: Callable[[], float] = time.time,
        keep: Mapping[str, int] | None = None,
    ) -> None:
        self.store, self.directory, self.clock = store, directory, clock
        self.encoder: Encoder = HashEncoder() if encoder is None else encoder
        self._keep = dict(keep or {})
        self._waiting: list[_Pending] = []
        self._untidy = 0
        self._queue, self._commit, self._cache = threading.Lock(), threading.Lock(), threading.Lock()
        self._ranking: Ranking | None = None
        self._refused: set[int] = set()
        """``seq`` of the texts that this encoder does not take."""

    @classmethod
    def open(cls, place: str | Path, directory: Directory, encoder: Encoder | None = None, **more: object) -> Memory:
        """The memory at ``place``: a file, or ``postgresql://…``.

        Args:
            place: Made where it is missing.
            directory: See the class, as the rest.
            encoder: The usual one needs no network.
            more: ``clock`` and ``keep``.
        """
        if isinstance(place, str) and place.startswith("postgresql://"):
            from router_runtime.memory.postgres_store import PostgresMemory  # here: an extra

            return cls(PostgresMemory(place), directory, encoder, **more)  # type: ignore[arg-type]
        return cls(SqliteMemory(place), directory, encoder, **more)  # type: ignore[arg-type]

    def write(
        self,
        agent: str,
        text: str,
        tags: Sequence[str] = (),
        scope: str | None = None,
        *,
        ttl_s: float | None = None,
    ) -> str:
        """Remembers ``text``; when it returns the entry is durable. Writes of several threads share one commit.

        Args:
            agent: Who writes.
            text: 1 to 100,000 characters.
            tags: Words to find it by, beside its own.
            scope: Who may read it; None = the agent's usual scope.
            ttl_s: Seconds after which it is forgotten; None = never.

        Returns:
            The entry's id.

        Raises:
            MemoryRefused: No such agent, or it may not write there.
            RequestError: The text is empty or too long, the time is not positive, or ``tags`` is one text.
            StoreError: It could not be stored.
        """
        target = self.directory(agent).target(scope)
        if not text.strip() or len(text) > MAX_TEXT:
            raise RequestError(f"memory: the text has {len(text)} characters, expected 1 to {MAX_TEXT}")
        if ttl_s is not None and not 0 < ttl_s < float("inf"):
            raise RequestError(f"memory: ttl_s is {ttl_s!r}, expected a positive number of seconds")
        now = self.clock()
        words = tuple([_storable(tag) for tag in _listed(tags, "tags")])
        entry = Entry(uuid7(now), agent, target, _storable(text), words, now, None if ttl_s is None else now + ttl_s)
        (vector,) = packed(self.encoder.encode([said(entry.text, entry.tags)]))
        self._store(_Pending(entry, vector))
        if target in self._keep:
            self._tidy()
        return entry.id

    def search(self, query: str, *, reader: str, agents: Collection[str] | None = None, k: int = 10) -> list[Found]:
        """The k entries that fit ``query`` best of those that ``reader`` may read, best first.

        Keywords (BM25) and vectors are ranked apart, each within the scopes, and fused by reciprocal rank.

        Args:
            query: Words, or a whole text.
            reader: On whose behalf.
            agents: Only what these wrote; None = whoever.
            k: 1 .. 50.

        Raises:
            MemoryRefused: No such agent.
            RequestError: ``k`` is out of range, or ``agents`` is one text.
            StoreError: The store cannot be read.
        """
        if not 1 <= k <= DEPTH:
            raise RequestError(f"memory: k is {k}, expected 1 to {DEPTH}")
        authors = None if agents is None else sorted(_listed(agents, "agents"))
        within = Bounds(sorted(self.directory(reader).read), authors, self.clock())
        (vector,) = self.encoder.encode([query])
        return self._fused(self.ranking().first(query[:MAX_TEXT], vector, within, DEPTH), k)

    def forget(
        self, agent: str, *, ids: Sequence[str] | None = None, scope: str | None = None, everything: bool = False
    ) -> int:
        """Deletes entries that ``agent`` wrote, so that nothing of their text is left in the store.

        Args:
            agent: Whose entries.
            ids: These alone; an empty list forgets nothing.
            scope: Of this scope alone.
            everything: All of the agent's; without ``ids`` and ``scope``.

        Returns:
            How many.

        Raises:
            MemoryRefused: No such agent.
            RequestError: Nothing says what to forget, or two things are said.
            StoreError: The store failed: nothing was deleted, or some of the text is still in its files. Forget again.
        """
        self.directory(agent)
        if everything == (ids is not None or scope is not None):
            raise RequestError("memory: give ids, a scope, or everything=True alone")
        if ids is not None and not _listed(ids, "ids"):
            return 0  # a selection that came out empty must not become the whole scope
        return self.store.forget(ids=ids, agent=agent, scope=scope)

    def purge(self) -> int:
        """Deletes what has expired (searches leave it out before that) and what is too much; gives the number."""
        return self.store.expire(self.clock()) + sum(self.store.keep_newest(*one) for one in self._keep.items())

    def reembed(self, batch: int = _REEMBED_BATCH) -> int:
        """Encodes again what another encoder had encoded; gives the number.

        Each batch is one commit, so that an end in between loses nothing and the next call goes on. Meanwhile the rest
        is found by its words. A text that the encoder does not take, while it takes others, is passed over for good.

        Raises:
            PointsmanError: The encoder fails, or the store.
        """
        done, after, refused = 0, 0, len(self._refused)
        while rows := self.store.other_encodings(self.encoder.fingerprint, after, batch):
            after = rows[-1][0]
            done += self._encode_again([row for row in rows if row[0] not in self._refused])
        if refused := len(self._refused) - refused:
            _LOG.warning("the memory's encoder does not take %d texts; they are found by their words alone", refused)
        return done

    def close(self) -> None:
        """Closes the store, and the encoder's connections where it has any."""
        self.store.close()
        if isinstance(self.encoder, ClosingEncoder):
            self.encoder.close()

    def ranking(self) -> Ranking:
        """The store's, or one of this process."""
        with self._cache:
            if self._ranking is None:
                encoder, dims = self.encoder.fingerprint, self.encoder.dims
                self._ranking = self.store.ranking(encoder, dims) or LocalRanking(self.store, encoder, dims)
            return self._ranking

    def access(self, agent: str) -> Access:
        """What ``agent`` may do."""
        return self.directory(agent)

    def _encode_again(self, rows: Sequence[tuple[int, str]]) -> int:
        """Halves what fails until it is one text, so that the others are encoded, and sent a few times at most."""
        if not rows:
            return 0
        fingerprint = self.encoder.fingerprint
        try:
            vectors = packed(self.encoder.encode([text for _, text in rows]))
        except PointsmanError:
            self.encoder.encode([_HARMLESS])  # where this fails as well, no text is to blame
            if len(rows) == 1:
                self._refused.add(rows[0][0])
                return 0
            half = len(rows) // 2
            return self._encode_again(rows[:half]) + self._encode_again(rows[half:])
        self.store.encode_again([(seq, fingerprint, vec) for (seq, _), vec in zip(rows, vectors, strict=True)])
        return len(rows)

    def _tidy(self) -> None:
        """Purges at every hundredth write to a bounded scope: a deletion that deletes takes its time."""
        with self._queue:
            self._untidy += 1
            due = self._untidy % _PURGE_EVERY == 0
        if due:
            self.purge()

    def _store(self, mine: _Pending) -> None:
        """Group commit: whoever gets the turn commits what all have left meanwhile."""
        with self._queue:
            self._waiting.append(mine)
        with self._commit:
            if not mine.done.is_set():
                with self._queue:
                    taken, self._waiting = self._waiting, []
                self._commit_all(taken)
        if mine.error is not None:
            raise mine.error

    def _commit_all(self, taken: Sequence[_Pending]) -> None:
        error: StoreError | None = StoreError("the memory could not be written")
        try:
            self.store.append([(one.entry, self.encoder.fingerprint, one.vector) for one in taken])
            error = None
        except StoreError as caught:
            error = caught
        finally:  # nobody may take a write for stored that was not
            for one in taken:
                one.error = error
                one.done.set()

    def _fused(self, ranked: Ranked, k: int) -> list[Found]:
        by_words = {seq: place for place, seq in enumerate(ranked.by_words, 1)}
        by_meaning = {seq: place for place, seq in enumerate(ranked.by_meaning, 1)}
        scores = {
            seq: sum(1.0 / (FUSION + places[seq]) for places in (by_words, by_meaning) if seq in places)
            for seq in (*by_words, *by_meaning)
        }
        best = sorted(scores, key=lambda seq: (-scores[seq], -seq))[: k + k]  # some may be gone by now
        entries = self.store.fetch(best)
        hits = [Found(entries[s], scores[s], by_words.get(s), by_meaning.get(s)) for s in best if s in entries]
        return hits[:k]


def _listed(values: Collection[str], name: str) -> Collection[str]:
    """Raises RequestError for a text, each of whose letters would count as one."""
    if isinstance(values, str):
        raise RequestError(f"memory: {name} is a text, expected a list of texts")
    return values


def _storable(text: str) -> str:
    """``text`` without lone surrogates, which no store takes."""
    return text.encode("utf-8", "replace").decode()


__all__ = ["Memory", "MemoryRefused"]
