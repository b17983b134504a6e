"""Ranking in the process: words against BM25 by its formula, what is gone, files of an earlier form."""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_runtime.memory import Memory
from router_runtime.memory.access import by_registry
from router_runtime.memory.entries import Bounds
from router_runtime.memory.keywords import COUNTED, counted, said, word_number, words_of
from router_runtime.memory.postings import WordTable
from router_runtime.memory.ranking import LocalRanking
from router_runtime.registry_agents import AgentEntry

DIRECTORY = by_registry(lambda: {"a": AgentEntry("a")})
TEXTS = st.lists(st.sampled_from(["ant", "bee", "cat", "dog", "Ærø", "字"]), max_size=12).map(" ".join)


def exact_scores(texts: list[str], query: str) -> dict[int, float]:
    """BM25, by its formula."""
    held = [Counter(words_of(text)) for text in texts]
    usual = max(sum(map(Counter.total, held)) / len(held), 1.0)
    scores: dict[int, float] = {}
    for word in set(words_of(query)):
        holders = [row for row, words in enumerate(held) if word in words]
        rarity = max(math.log((len(texts) - len(holders) + 0.5) / (len(holders) + 0.5)), 1e-6)
        for row in holders:
            often, norm = held[row][word], 1.2 * (0.25 + 0.75 * held[row].total() / usual)
            scores[row] = scores.get(row, 0.0) + rarity * 2.2 * often / (often + norm)
    return scores


@settings(max_examples=150)
@given(st.lists(TEXTS, min_size=1, max_size=20), TEXTS, st.integers(1, 8), st.data())
def test_words_rank_as_the_formula_does(texts: list[str], query: str, k: int, data: st.DataObject) -> None:
    table, cut = WordTable(), data.draw(st.integers(0, len(texts)))
    for part in (texts[:cut], texts[cut:]):
        table.add([counted(text) for text in part])
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))), dtype=np.bool_)
    scores = exact_scores(texts, query)
    found = table.best(query, allowed, k).tolist()
    assert all(allowed[row] and row in scores for row in found)
    wanted = sorted((score for row, score in scores.items() if allowed[row]), reverse=True)[:k]
    np.testing.assert_allclose([scores[row] for row in found], wanted, rtol=1e-5)


def test_of_two_as_good_the_newer_comes_first() -> None:
    table = WordTable()
    table.add([counted("ant bee")] * 5 + [counted("cat")] * 9)
    assert table.best("ant", np.ones(14, dtype=np.bool_), 3).tolist() == [4, 3, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't PANIC, it's 42_000!", ["don", "t", "panic", "it", "s", "42", "000"]),
        ("Crème brûlée", ["creme", "brulee"]),
        ("汉字 かな mixed字", ["汉", "字", "か", "な", "mixed", "字"]),
        ("한국어 и кириллица", ["한국어", "и", "кириллица"]),
        ("", []),
        ("\ud800 \0 --", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_counts_have_an_end() -> None:
    (row,) = np.frombuffer(counted("word " * 1000), dtype=COUNTED)
    assert (row["word"], row["count"]) == (word_number("word"), 255)


@given(st.text())
def test_any_text_can_be_counted(text: str) -> None:
    assert len(counted(text)) == COUNTED.itemsize * len(set(words_of(text)))


def test_what_is_gone_takes_no_room_for_long(tmp_path: Path) -> None:
    memory = Memory.open(tmp_path / "m.sqlite", DIRECTORY)
    ids = [memory.write("a", f"fact {n}") for n in range(40)]
    ranking = memory.ranking()
    assert isinstance(ranking, LocalRanking)
    for n, key in enumerate(ids[:30]):
        memory.forget("a", ids=[key])
        assert len(memory.search("fact", reader="a", k=50)) == 39 - n
    memory.search("fact", reader="a")
    assert ranking.rows < 20
    memory.close()


def old_form(path: Path) -> None:
    """Makes the file a one of the form before words stood beside the entries."""
    db = sqlite3.connect(path)
    db.executescript(
        """
        CREATE VIRTUAL TABLE words_index USING fts5(text, tags, content='entries', content_rowid='seq');
        ALTER TABLE entries DROP COLUMN words;
        ALTER TABLE words_index RENAME TO words;
        CREATE VIRTUAL TABLE vocabulary USING fts5vocab('words', 'row');
        CREATE INDEX entries_place ON entries (seq, scope, agent, expires);
        INSERT INTO words (words) VALUES ('rebuild');
        PRAGMA user_version = 0;
        """
    )
    db.close()


def test_a_file_of_the_earlier_form_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    memory = Memory.open(path, DIRECTORY)
    for n in range(3):
        memory.write("a", f"fact {n}", tags=["numbered"])
    memory.close()
    old_form(path)
    memory = Memory.open(path, DIRECTORY)
    assert {hit.by_words for hit in memory.search("numbered facts", reader="a")} == {1, 2, 3}
    memory.write("a", "fact 3")
    assert len(memory.search("fact", reader="a")) == 4
    memory.close()
    db = sqlite3.connect(path)
    assert not db.execute("SELECT name FROM sqlite_master WHERE name LIKE 'words%' OR name = 'vocabulary'").fetchall()
    for text, tags, words in db.execute("SELECT text, tags, words FROM entries"):
        assert words == counted(said(text, json.loads(tags)))
    db.close()


def test_expired_entries_and_other_authors_are_left_out_of_both_rankings(tmp_path: Path) -> None:
    now = [100.0]
    memory = Memory.open(tmp_path / "m.sqlite", DIRECTORY, clock=lambda: now[0])
    memory.write("a", "a lasting fact")
    memory.write("a", "a short fact", ttl_s=10)
    (vector,) = memory.encoder.encode(["fact"])
    for when, agents, number in ((100.0, None, 2), (100.0, ["b"], 0), (111.0, ["a", "b"], 1)):
        ranked = memory.ranking().first("fact", vector, Bounds(["agent:a"], agents, when), 5)
        assert (len(ranked.by_words), len(ranked.by_meaning)) == (number, number)
    memory.close()
