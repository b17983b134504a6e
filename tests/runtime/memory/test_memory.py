"""The contract of the shared memory, over SQLite and PostgreSQL with and without pgvector; scopes; deleting; kill."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_runtime.errors import MemoryRefused, PredictionError, RequestError, StoreError
from router_runtime.memory import Access, HashEncoder, Memory
from router_runtime.memory.access import access_of, by_registry, private
from router_runtime.memory.encoders import normalised
from router_runtime.memory.entries import Vector
from router_runtime.memory.sqlite_store import SqliteMemory
from router_runtime.registry_agents import EVERYONE, AgentEntry, MemoryEntry
from router_runtime.registry_reader import load_registry
from tests.conftest import Clock

AGENTS = {
    "coding": AgentEntry("coding", memory=MemoryEntry("team", frozenset({"team"}))),
    "vision": AgentEntry("vision", memory=MemoryEntry(None, frozenset({"team"}))),
    "stranger": AgentEntry("stranger"),
}
DIRECTORY = by_registry(lambda: AGENTS)


@pytest.fixture(params=["sqlite", "plain_postgres_url", "postgres_url"], ids=["sqlite", "postgresql", "pgvector"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return tmp_path / "memory.sqlite" if request.param == "sqlite" else str(request.getfixturevalue(request.param))


@pytest.fixture
def memory(place: str | Path, clock: Clock) -> Iterator[Memory]:
    made = Memory.open(place, DIRECTORY, clock=clock)
    yield made
    made.close()


def texts(memory: Memory, query: str, reader: str, **more: object) -> list[str]:
    return [hit.entry.text for hit in memory.search(query, reader=reader, **more)]  # type: ignore[arg-type]


def test_one_agent_finds_what_another_wrote_where_scopes_allow_it(memory: Memory) -> None:
    memory.write("coding", "The login form sends its password in plain text", tags=["security"])
    memory.write("coding", "My private note about the login form", scope=private("coding"))
    memory.write("vision", "The screenshot shows a red login button")
    assert texts(memory, "login form", "vision") == [
        "The login form sends its password in plain text",
        "The screenshot shows a red login button",
    ]
    assert len(texts(memory, "login", "coding")) == 2
    assert texts(memory, "login", "stranger") == []
    assert texts(memory, "security", "vision") == ["The login form sends its password in plain text"]
    assert texts(memory, "login", "vision", agents=["coding"]) == ["The login form sends its password in plain text"]
    assert texts(memory, "login", "vision", agents=[]) == []


def test_words_and_meaning_both_count(memory: Memory) -> None:
    memory.write("coding", "Refactoring the parser of invoices made it twice as fast")
    memory.write("coding", "Bananas are yellow and grow in bunches")
    (first, *_) = memory.search("refactored invoice parsers", reader="coding")
    assert first.entry.text.startswith("Refactoring")
    assert first.by_words is None, "no word is the same"
    assert first.by_meaning == 1
    (first, *_) = memory.search("yellow bananas", reader="coding")
    assert (first.by_words, first.by_meaning) == (1, 1)
    assert first.entry.tags == ()


def test_everyone_reads_what_is_for_everyone(memory: Memory) -> None:
    memory.write("stranger", "Prices changed on the first of May", scope=EVERYONE)
    for reader in AGENTS:
        assert texts(memory, "prices", reader) == ["Prices changed on the first of May"]


def test_who_may_not_write_or_is_nobody(memory: Memory) -> None:
    with pytest.raises(MemoryRefused, match="'vision' may not write to the scope 'team'"):
        memory.write("vision", "x", scope="team")
    with pytest.raises(MemoryRefused, match="may not write to the scope 'agent:coding'"):
        memory.write("vision", "x", scope=private("coding"))
    for act in (lambda: memory.write("nobody", "x"), lambda: memory.search("x", reader="nobody")):
        with pytest.raises(MemoryRefused, match="no agent 'nobody'"):
            act()


@pytest.mark.parametrize("text", ["", "  ", "x" * 100_001])
def test_texts_that_are_none(memory: Memory, text: str) -> None:
    with pytest.raises(RequestError, match="characters"):
        memory.write("coding", text)


@pytest.mark.parametrize(
    "text",
    [
        "quotes \" and ' and *",
        "NEAR(a b) OR NOT x:y -z ^",
        "汉字 и кириллица",
        "lone \ud800 one",
        "nul \0 byte",
        "e" * 5000,
    ],
)
def test_any_text_is_stored_and_any_query_is_only_words(memory: Memory, text: str) -> None:
    memory.write("coding", text)
    (hit,) = memory.search(text, reader="coding")
    assert hit.entry.text[:4] == text[:4]
    assert memory.search("\0 \ud800 \" ' * ( ) : -", reader="coding", k=1) is not None


def test_what_expires_is_not_found_and_then_gone(memory: Memory, clock: Clock) -> None:
    memory.write("coding", "short lived fact", ttl_s=60)
    memory.write("coding", "lasting fact")
    assert len(texts(memory, "fact", "coding")) == 2
    clock.advance(61)
    assert texts(memory, "fact", "coding") == ["lasting fact"]
    assert memory.purge() == 1
    assert memory.purge() == 0
    with pytest.raises(RequestError, match="ttl_s"):
        memory.write("coding", "x", ttl_s=0)


def test_a_scope_keeps_its_newest(place: str | Path, clock: Clock) -> None:
    memory = Memory.open(place, DIRECTORY, clock=clock, keep={"team": 3})
    for n in range(7):
        memory.write("coding", f"fact number {n}")
    memory.write("coding", "fact of my own", scope=private("coding"))
    assert memory.purge() == 4
    assert sorted(texts(memory, "fact", "coding")) == [
        "fact number 4",
        "fact number 5",
        "fact number 6",
        "fact of my own",
    ]
    memory.close()


def test_forgetting(memory: Memory) -> None:
    ids = [memory.write("coding", f"fact {n}") for n in range(4)]
    memory.write("coding", "private fact", scope=private("coding"))
    memory.write("vision", "fact of vision")
    assert memory.forget("vision", ids=ids) == 0, "only what one wrote oneself"
    assert memory.forget("coding", ids=ids[:2]) == 2
    assert memory.forget("coding", ids=ids[:2]) == 0
    assert sorted(texts(memory, "fact", "coding")) == ["fact 2", "fact 3", "private fact"]
    assert memory.forget("coding", ids=[], scope="team") == 0, "no id is none, not every one"
    assert memory.forget("coding", ids=ids, scope=private("coding")) == 0
    assert memory.forget("coding", scope="team") == 2
    assert memory.forget("coding", everything=True) == 1
    assert texts(memory, "fact", "coding") == []
    assert texts(memory, "fact", "vision") == ["fact of vision"]
    for wrong in ({}, {"ids": [], "everything": True}, {"scope": "team", "everything": True}):
        with pytest.raises(RequestError, match="give ids, a scope"):
            memory.forget("coding", **wrong)


def test_one_text_is_no_list_and_tags_are_made_storable(memory: Memory) -> None:
    key = memory.write("coding", "a fact", ["odd\ud800", "nul\0"])
    (found,) = memory.search("fact", reader="coding")
    assert found.entry.id == key
    assert found.entry.tags[0] == "odd?"
    for call in (
        lambda: memory.write("coding", "a fact", "tag"),
        lambda: memory.search("fact", reader="coding", agents="coding"),
        lambda: memory.forget("coding", ids=key),
    ):
        with pytest.raises(RequestError, match="is a text, expected a list of texts"):
            call()


def test_two_openings_of_one_store_see_each_other(place: str | Path) -> None:
    one, other = Memory.open(place, DIRECTORY), Memory.open(place, DIRECTORY)
    key = one.write("coding", "a shared fact")
    assert texts(other, "fact", "coding") == ["a shared fact"]
    other.write("coding", "another fact")
    assert len(texts(one, "fact", "coding")) == 2
    other.forget("coding", ids=[key])
    assert texts(one, "fact", "coding") == ["another fact"]
    one.close()
    other.close()


PASSER_BY = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(*db.execute("SELECT count(*) FROM entries").fetchone())
db.close()
"""


def test_two_openings_in_a_process_keep_the_file_locked(tmp_path: Path) -> None:
    one, other = (Memory.open(tmp_path / "m.sqlite", DIRECTORY) for _ in range(2))
    for n, memory in enumerate((one, other, one), 1):
        memory.write("coding", f"fact {n}")
        look = [sys.executable, "-c", PASSER_BY, str(tmp_path / "m.sqlite")]
        assert int(subprocess.check_output(look)) == n, "the last one to close deletes the log; this is not the last"
    one.close()
    other.close()


class Other:
    """An encoder by letters, to change to."""

    fingerprint, dims = "letters", 26

    def encode(self, texts: Sequence[str]) -> Vector:
        counts = [[text.lower().count(chr(97 + n)) for n in range(26)] for text in texts]
        return normalised(np.array(counts, dtype=np.float32).reshape(len(texts), 26))


def test_another_encoder_encodes_again_in_steps(place: str | Path) -> None:
    first = Memory.open(place, DIRECTORY)
    for n in range(5):
        first.write("coding", f"fact {n}", tags=["numbered"])
    memory = Memory.open(place, DIRECTORY, Other())
    hits = memory.search("fact", reader="coding")
    assert {hit.by_meaning for hit in hits} == {None}
    assert len(hits) == 5, "found by their words meanwhile"
    assert memory.reembed(batch=2) == 5
    assert memory.reembed() == 0
    assert all(hit.by_meaning for hit in memory.search("fact", reader="coding"))
    assert all(hit.by_meaning is None for hit in first.search("fact", reader="coding"))
    first.close()
    memory.close()


class Choosy(Other):
    """Takes no text with a Q in it, and none at all once it is ``away``."""

    def __init__(self) -> None:
        self.away, self.seen = False, list[str]()

    def encode(self, texts: Sequence[str]) -> Vector:
        self.seen += texts
        if self.away or any("Q" in text for text in texts):
            raise PredictionError("not this")
        return super().encode(texts)


def test_texts_that_an_encoder_does_not_take_are_passed_over(
    place: str | Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, encoder = Memory.open(place, DIRECTORY), Choosy()
    for n in range(40):
        first.write("coding", f"fact {n} Q" if n in (0, 1, 17) else f"fact {n}")
    memory = Memory.open(place, DIRECTORY, encoder)
    encoder.away = True
    with pytest.raises(PredictionError):
        memory.reembed(batch=16)
    assert len(encoder.seen) == 17, "an encoder that takes nothing is not asked for each text"
    encoder.away = False
    assert memory.reembed(batch=16) == 37
    assert "does not take 3 texts" in caplog.text
    assert len(memory.search("fact", reader="coding", k=50)) == 40
    sent = len(encoder.seen)
    assert memory.reembed(batch=16) == 0
    assert len(encoder.seen) == sent, "nor are they sent again and again"
    first.close()
    memory.close()


def test_writers_of_many_threads_share_commits_and_lose_nothing(memory: Memory) -> None:
    def work(name: int) -> None:
        for n in range(5):
            memory.write("coding", f"fact {name} {n}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memory.search("fact", reader="coding", k=50)) == 40


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.tuples(st.sampled_from([None, "s1", "s2", EVERYONE]), st.frozensets(st.sampled_from(["s1", "s2", "s3"]))),
        min_size=1,
    ),
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([None, "own", "s1", "s2", EVERYONE])), max_size=12),
)
def test_no_scope_leaks(
    who: dict[str, tuple[str | None, frozenset[str]]], writes: list[tuple[str, str | None]]
) -> None:
    agents = {name: AgentEntry(name, memory=MemoryEntry(write, read)) for name, (write, read) in who.items()}
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory.open(Path(folder) / "m.sqlite", by_registry(lambda: agents))
        written: list[tuple[str, str, str]] = []
        for n, (agent, scope) in enumerate(writes):
            target = private(agent) if scope == "own" else scope
            try:
                key = memory.write(agent, f"the common secret number{n}", scope=target)
            except MemoryRefused:
                assert agent not in agents or target not in access_of(agents[agent]).write
                continue
            written.append((key, agent, target or access_of(agents[agent]).usual))
        for reader, entry in agents.items():
            allowed = {
                private(reader),
                EVERYONE,
                *([entry.memory.write] if entry.memory.write else []),
                *entry.memory.read,
            }
            expected = {key for key, _, scope in written if scope in allowed}
            for query in ("common secret", "the common secret number0", "unrelated"):
                found = memory.search(query, reader=reader, k=50)
                assert {hit.entry.id for hit in found} <= expected
                assert {hit.entry.scope for hit in found} <= allowed
            assert {hit.entry.id for hit in memory.search("common secret", reader=reader, k=50)} == expected
        memory.close()


def test_no_byte_of_what_was_forgotten_stays_in_the_files(tmp_path: Path) -> None:
    memory = Memory.open(tmp_path / "m.sqlite", DIRECTORY)
    for n in range(300):
        memory.write("coding", f"harmless sentence number {n} about trains and points")
    secret = memory.write("coding", "the passphrase is xylophonic-quagmire", tags=["zanzibarium"])
    words = (b"xylophonic", b"quagmire", b"zanzibarium")

    def bytes_of_all() -> bytes:
        return b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))

    assert all(word in bytes_of_all() for word in words)
    assert memory.forget("coding", ids=[secret]) == 1
    assert not [word for word in words if word in bytes_of_all()]
    assert len(texts(memory, "trains", "coding", k=50)) == 50
    memory.close()
    assert not [word for word in words if word in bytes_of_all()]


def test_the_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    memory = Memory.open(tmp_path / "m.sqlite", DIRECTORY)
    memory.write("coding", "x")
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
    memory.close()


def test_a_deletion_that_was_cut_short_or_met_a_reader_is_finished_by_the_next(tmp_path: Path) -> None:
    memory = Memory(SqliteMemory(tmp_path / "m.sqlite", wait_s=0.05), DIRECTORY)
    memory.write("coding", "xylophonic")
    with closing(sqlite3.connect(tmp_path / "m.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()
        with pytest.raises(StoreError, match="somebody is reading it; forget again"):
            memory.forget("coding", everything=True)
    assert texts(memory, "xylophonic", "coding") == []
    assert memory.forget("coding", everything=True) == 0, "no row is left, but its text"
    assert not [path.name for path in tmp_path.iterdir() if b"xylophonic" in path.read_bytes()]
    memory.close()


@pytest.mark.parametrize("bad", ["directory", "text"])
def test_a_store_that_cannot_be_used_says_so(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "m.sqlite"
    path.mkdir() if bad == "directory" else path.write_text("no database " * 100)
    memory = Memory.open(path, DIRECTORY)
    with pytest.raises(StoreError, match="the memory could not be written"):
        memory.write("coding", "x")
    with pytest.raises(StoreError, match="the memory could not be read"):
        memory.search("x", reader="coding")


WRITER = """
import sys
from router_runtime.memory import Memory
from router_runtime.memory.access import by_registry
from router_runtime.registry_agents import AgentEntry
memory = Memory.open(sys.argv[1], by_registry(lambda: {"a": AgentEntry("a")}))
for n in range(1_000_000):
    key = memory.write("a", f"fact {n}")
    print(key, flush=True)
"""


def _kill(folder: Path, rounds: int) -> None:
    rng, acknowledged = random.Random(3), []
    for _ in range(rounds):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder / "m.sqlite")], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        acknowledged += [writer.stdout.readline().decode().strip() for _ in range(rng.randint(1, 60))]
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().decode()
        writer.wait()
        writer.stdout.close()
        acknowledged += rest[: rest.rfind("\n") + 1].split()
    memory = Memory.open(folder / "m.sqlite", by_registry(lambda: {"a": AgentEntry("a")}))
    stored = {one.id for one in memory.store.fetch([row.seq for row in memory.store.placed(0)]).values()}
    assert set(acknowledged) <= stored
    assert memory.search("fact", reader="a")
    memory.close()


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    _kill(tmp_path, 3)


@pytest.mark.slow
def test_kill_9_fifty_times_loses_nothing_acknowledged(tmp_path: Path) -> None:
    _kill(tmp_path, 50)


def test_vectors_have_length_one_and_are_the_same_everywhere() -> None:
    vectors = HashEncoder(dims=64).encode(["The point machine failed", "", "汉字"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1], atol=1e-6)
    np.testing.assert_array_equal(vectors, HashEncoder(dims=64).encode(["The point machine failed", "", "汉字"]))
    assert HashEncoder(dims=64).fingerprint != HashEncoder(dims=64, seed=8).fingerprint


def test_the_shipped_agents_share_a_project() -> None:
    agents = load_registry().agents
    assert access_of(agents["coding"]).usual == "project"
    assert access_of(agents["classifier"]) == Access(
        "classifier",
        read=frozenset({private("classifier"), EVERYONE, "project"}),
        write=frozenset({private("classifier"), EVERYONE}),
        usual=private("classifier"),
    )
