import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router_runtime.features import (
    BIGRAM_START,
    FEATURES_VERSION,
    GRAM_START,
    HASH_SIZE,
    INTENT_START,
    STRUCTURAL,
    WORD_ROWS,
    Features,
    extract,
)
from router_runtime.messages import Request


def ids_between(features, low, high):
    return set(features.ids[(features.ids >= low) & (features.ids < high)].tolist())


def words_of(text):
    return ids_between(extract(Request(text)), 0, WORD_ROWS)


def number(text, name, **request):
    return float(extract(Request(text, **request)).structural[STRUCTURAL.index(name)])


def count(text, name, **request):
    return round(float(np.expm1(number(text, f"log_{name}", **request))))


def check(features):
    ids, structural, embedding = features
    assert embedding is None
    assert ids.dtype == np.int64
    assert structural.dtype == np.float32
    assert structural.shape == (len(STRUCTURAL),)
    assert np.isfinite(structural).all()
    assert (np.diff(ids) > 0).all()
    assert len(ids) == 0 or (ids[0] >= 0 and ids[-1] < HASH_SIZE)


HOSTILE = {
    "empty": "",
    "one letter words": "a b " * 3000,
    "spaces": " " * 9000,
    "newlines": "\n" * 9000,
    "emoji": "😀👩‍👩‍👧" * 2000,
    "cjk": "汉字很多。" * 3000,
    "hebrew and arabic": "שלום עולם مرحبا بالعالم " * 500,
    "lone surrogate": "a \ud800 b \udfff",
    "nul bytes": "\0a\0\0b\0",
    "one megabyte": "some words of a very long prompt " * 32_000,
    "one word of a megabyte": "x" * 1_000_000,
    "cut inside a character": "a" + "é" * 9000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_give_valid_features(text):
    check(extract(Request(text)))


@settings(max_examples=300)
@given(text=st.text(st.characters(), max_size=300), intent=st.none() | st.text(max_size=20))
@example(text="\ud800", intent="\udfff")
def test_any_text_gives_the_same_valid_features_twice(text, intent):
    request = Request(text, intent=intent)
    first, second = extract(request), extract(request)
    check(first)
    np.testing.assert_array_equal(first.ids, second.ids)
    np.testing.assert_array_equal(first.structural, second.structural)


def python_words(text):
    """Words as the docstring defines them, the slow way."""
    runs, current = [], b""
    for byte in text.encode() + b" ":
        char = bytes([byte])
        if char.isalnum() or byte > 127:
            current += b"0" if char.isdigit() else char.lower()
        elif current:
            runs.append(current)
            current = b""
    return runs


@settings(max_examples=200)
@given(st.text(st.sampled_from("abcXYZ019 .,\n-é汉😀"), max_size=80))
def test_words_are_those_of_the_definition(text):
    words = python_words(text)
    features = extract(Request(text))
    assert count(text, "words") == len(words)
    alone = [
        words_of(word.decode("utf-8", "ignore"))
        for word in set(words)
        if word.decode("utf-8", "ignore").encode() == word
    ]
    assert set().union(*alone) <= ids_between(features, 0, WORD_ROWS)
    assert len(ids_between(features, 0, WORD_ROWS)) <= len(set(words))


def test_a_word_is_its_first_and_last_8_bytes_and_its_length():
    base = words_of("abcdefgh1ijklmnop")
    assert words_of("abcdefgh2ijklmnop") == base  # digits are merged
    assert words_of("abcdefghxijklmnop") == base  # the 9th of 17 bytes is in neither load
    assert words_of("abcdefghijklmnop") != base
    assert len(words_of("a aa aaa aaaaaaaa aaaaaaaaa aaaaaaaaaaaaaaaa aaaaaaaaaaaaaaaaa")) == 7


def test_case_does_not_change_ids_but_is_counted():
    lower, upper = extract(Request("explain the riemann zeta")), extract(Request("EXPLAIN the Riemann Zeta"))
    np.testing.assert_array_equal(lower.ids, upper.ids)
    assert count("EXPLAIN the Riemann Zeta", "upper") == 9


def test_repeats_count_once():
    once, often = extract(Request("the cat")), extract(Request("the cat the cat the cat"))
    assert ids_between(once, 0, WORD_ROWS) == ids_between(often, 0, WORD_ROWS)
    assert len(ids_between(often, BIGRAM_START, GRAM_START)) == 2  # "the cat", "cat the"


def test_bigrams_know_the_order():
    there, back = extract(Request("cat dog")), extract(Request("dog cat"))
    assert ids_between(there, 0, WORD_ROWS) == ids_between(back, 0, WORD_ROWS)
    assert ids_between(there, BIGRAM_START, GRAM_START) != ids_between(back, BIGRAM_START, GRAM_START)


def test_grams_see_symbols_that_words_do_not():
    plus, minus = extract(Request("a + b = c")), extract(Request("a - b = c"))
    assert ids_between(plus, 0, GRAM_START) == ids_between(minus, 0, GRAM_START)
    assert ids_between(plus, GRAM_START, INTENT_START) != ids_between(minus, GRAM_START, INTENT_START)


def test_the_middle_of_a_long_text_is_skipped_and_its_ends_are_not():
    filler = "filler words " * 2000
    base = extract(Request(filler))
    middle = extract(Request(filler[:13000] + "zebra " + filler[13000:]))
    np.testing.assert_array_equal(base.ids, middle.ids)
    assert words_of("zebra") <= words_of("zebra " + filler)
    assert words_of("zebra") <= words_of(filler + " zebra")


def test_the_intent_has_ids_of_its_own():
    plain, declared = extract(Request("hi")), extract(Request("hi", intent="Refactor_Function "))
    added = set(declared.ids.tolist()) - set(plain.ids.tolist())
    assert len(added) == 1
    assert min(added) >= INTENT_START
    assert set(extract(Request("hi", intent="refactor_function")).ids.tolist()) == set(declared.ids.tolist())
    assert count("hi", "has_intent", intent="x") == 1


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("chars", "h\u00e9llo", 5),
        ("words", "two words", 2),
        ("distinct_words", "a a b", 2),
        ("code_fences", "```py\nx\n```", 2),
        ("display_formulas", "$$x^2$$", 2),
        ("carets", "$$x^2$$", 1),
        ("urls", "see https://a.b and http://c.d", 2),
        ("json_keys", '{"a": 1, "b": 2}', 2),
        ("questions", "why? how?", 2),
        ("question_words", "Why, and how", 2),
        ("negations", "which is NOT true", 1),
        ("bullets", "list:\n- a\n* b\n+ c", 3),
        ("numbered", "list:\n1. a\n2. b", 2),
        ("empty_lines", "a\n\nb", 1),
        ("headings", "x\n# h\n## i", 2),
        ("indented", "x\n    return", 1),
        ("options", "Q\nA. x\nB) y\n(C) z\nD: w", 4),
        ("options", "A man, e.g. an Am. man.", 0),
        ("numbers", "10 and 2000", 2),
        ("max_digits", "10 and 2000", 4),
        ("max_word", "a bcd ef", 3),
        ("words_10", "internationalisation of a", 1),
        ("cyrillic", "мир", 3),
        ("greek", "αβ", 2),
        ("hebrew", "שלום", 4),
        ("arabic", "مرحبا", 5),
        ("kana", "ひらカナ", 4),
        ("cjk", "汉字", 2),
        ("hangul", "한글", 2),
        ("indic_thai", "नम", 2),
        ("emoji", "😀😀", 2),
        ("latin_extended", "éß", 2),
    ],
)
def test_structural_counts(name, text, expected):
    assert count(text, name) == expected


def test_request_fields_are_structural():
    fields = {
        "system_chars": 7,
        "turns": 5,
        "assistant_turns": 2,
        "tool_results": 1,
        "tools": 3,
        "images": 2,
        "audio": 1,
    }
    for name, value in {**fields, "files": 4}.items():
        assert count("x", name, **{name: value}) == value
    assert count("x", "json_output", json_output=True) == 1


def test_shares_are_shares():
    assert number("ab12", "share_digits") == 0.5
    assert number("what of it", "share_question_words") == pytest.approx(1 / 3)
    assert number("a a a a", "share_distinct") == 0.25
    assert number("ab abcd", "mean_word") == 3.0
    assert len(set(STRUCTURAL)) == len(STRUCTURAL)


GOLDEN = {  # text: number of ids, CRC-32 of the ids, sum of the structural numbers
    "": (1, 3432607261, 2.0794),
    "Hello, World! 123": (20, 1239878224, 30.2471),
    "Prove that $\\sqrt{2}$ is irrational.\n\nA. yes\nB. no": (67, 906622048, 49.9299),
    "汉字 и мир 😀": (26, 2813851188, 27.8963),
    "internationalisation, quick brown fox; internationalisation, quick": (46, 1013648402, 36.4882),
}


@pytest.mark.parametrize("text", GOLDEN)
def test_numbers_are_those_of_this_features_version(text):
    """A change of any feature must raise FEATURES_VERSION, for bundles of the old version to be refused; then renew."""
    features = extract(Request(text, intent="chat", turns=3))
    size, checksum, total = GOLDEN[text]
    assert FEATURES_VERSION == 1
    assert (len(features.ids), zlib.crc32(features.ids.astype("<i8").tobytes())) == (size, checksum)
    assert float(features.structural.sum(dtype=np.float64)) == pytest.approx(total, abs=1e-3)
    assert isinstance(features, Features)
