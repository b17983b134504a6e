"""What goes out of a kept text, what stays, and that no text is too odd for it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_runtime.redaction import _RULES, redact
from router_runtime.substitution import REACH, substitute

HIDDEN = {
    "mail a.b+c@x-y.co.uk now": "mail [email] now",
    "ü.ö@bücher.de": "[email]",
    "call +49 (0)30 1234-5678 or 555-867-5309": "call [phone] or [phone]",
    "order 12345678, code 123456": "order [number], code 123456",
    "card 4111 1111 1111 1111.": "card [card].",
    "IBAN DE89 3704 0044 0532 0130 00 ok": "IBAN [account] ok",
    "from 10.0.0.255 to 2001:db8::ff00:42:8329 or ::1": "from [ip] to [ip] or [ip]",
    "https://bob:hunter2@host/x?y=1": "https://[secret]@host/x?y=1",
    "postgres://u:p%40@h:5/db": "postgres://[secret]@h:5/db",
    "password = 'hunter22', api_key: abcd1234": "password = '[secret]', api_key: [secret]",
    "Authorization: Bearer abcdef0123456789abcdef": "Authorization: Bearer [secret]",
    "use sk-proj-abcdefghijklmnop123456!": "use [secret]!",
    "ghp_abcdefghij0123456789": "[secret]",
    "AKIAIOSFODNN7EXAMPLE": "[secret]",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_X": "[secret]",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----": "[secret]",
    "0f" * 20: "[secret]",
    "pay with 4111 1111 1111 1111 12/27 123": "pay with [number]",
    "call 555-123-4567 555-987-6543 today": "call [number] today",
    "misspelt 4111 1111 1111 1112": "misspelt [number]",
    "4111\u00a01111\u00a01111\u00a01111 or 555\u2011123\u20114567": "[card] or [phone]",
    "iban de89370400440532013000": "iban [account]",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQO/x-y\n-----END PGP PRIVATE KEY BLOCK-----\nbye": "[secret]\nbye",
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIE/p\n-----END RSA PRIVATE KEY-----": "[secret]",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq+hkiG9\nand so on": "[secret]\nand so on",
    "Authorization: Basic dXNlcjpw": "Authorization: Basic [secret]",
    "Server=db;Uid=sa;Pwd=hunter22;": "Server=db;Uid=sa;Pwd=[secret];",
    r"{\"password\": \"hunter22\"}": r"{\"password\": \"[secret]\"}",
    "password: [abc1234]": "password: [secret]",
    "mongodb+srv://u:p/w@h/db": "mongodb+srv://[secret]@h/db",
    "https://a:b and https://u:p/w/x@h": "https://a:b and https://[secret]@h",
    "SECRET_KEY = 'django-insecure-8#x!q@z%v'": "SECRET_KEY = '[secret]'",
    "secretKey: hunter2hunter2, db_password_prod=hunter2": "secretKey: [secret], db_password_prod=[secret]",
    "private_key=abcdef123456 encryption-key: Zm9vYmFy": "private_key=[secret] encryption-key: [secret]",
    "AccountKey=abcd1234+/==;": "AccountKey=[secret];",
    "password='p@ss,word123!x', x": "password='[secret]', x",
    '"password": "correct horse battery"': '"password": "[secret]"',
    r'token = "abc\"def123" + 1': 'token = "[secret]" + 1',
    "from ::ffff:1.2.3.4": "from [ip]",
}
KEPT = (
    "at 12:30:45 std::vector<int> holds 999.1.1.1",
    "on 2026-11-22, 3.1415926535897 and 1,234,567 = 2^20",
    "supercalifragilisticexpialidocious_and_more_words_here",
    "def token(self): return self.password",
    "What is 12 + 30? (A) 41 (B) 42",
    "token_count: 12345, tokens: 4096, secretary: Johnson, monkey: banana",
    "a basic understanding at10 this case of authorization: none",
    "",
)
TRAPS = (
    "a",
    "a@",
    "1 ",
    "1",
    "a.b.",
    "-----BEGIN PRIVATE KEY-----",
    "http://",
    "AA11 ",
    "a:",
    "token=",
    "1.1.",
    "((++",
    "-----BEGIN PRIVATE KEY-----\nMIIE",
    "Authorization: Basic ",
    'password\\": \\"',
    "http://a:b/",
    "aa11 1111 ",
    "1\u00a0",
    "ab://",
    "ab://c:d/",
    "password_",
    "password='",
    "token='\\",
)


@pytest.mark.parametrize(("text", "expected"), HIDDEN.items())
def test_what_looks_private_becomes_a_marker(text, expected):
    assert redact(text) == expected


@pytest.mark.parametrize("text", KEPT)
def test_what_does_not_look_private_stays(text):
    assert redact(text) == text


def test_a_redacted_text_has_nothing_left_to_redact():
    once = redact(" ".join(HIDDEN))
    assert redact(once) == once


@pytest.mark.parametrize("trap", TRAPS)
def test_a_long_text_of_beginnings_is_done_in_one_pass(trap):
    # A pattern that backtracks over the whole text would take hours here.
    found = redact(trap * 20_000)
    assert redact(found) == found


LONG_TOKEN = "eyJ" + "hbGci" * 300 + ".eyJzdWIi "
PIECES = st.tuples(
    st.sampled_from([*HIDDEN, *TRAPS, *KEPT, LONG_TOKEN, " ", "\n", "word ", "x" * 900]), st.integers(1, 40)
)


@settings(max_examples=40)
@given(st.lists(PIECES, max_size=8).map(lambda some: "".join(text * n for text, n in some)[:4000]))
def test_short_steps_find_what_one_long_one_finds(text):
    for pattern, replacement in _RULES:
        assert substitute(pattern, replacement, text, REACH + 30) == pattern.sub(replacement, text)


@pytest.mark.parametrize("before", range(1000, 1100, 7))
def test_a_secret_across_two_steps_is_found_whole(before):
    key = "-----BEGIN PRIVATE KEY-----\n" + "MIIE" * 16 + "\n-----END PRIVATE KEY-----"
    text = "x " * (before // 2) + key + " or 4111 1111 1111 1111"
    for pattern, replacement in _RULES:
        text = substitute(pattern, replacement, text, REACH + 10)
    assert text == "x " * (before // 2) + "[secret] or [card]"
