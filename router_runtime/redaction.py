"""Texts without what must not be kept: e-mails, phone numbers, cards, accounts, addresses of machines, secrets.

Every hit becomes a fixed marker in brackets. What is found goes by its form alone: names, places and secrets in plain
words stay; and a number or an identifier that merely looks like one goes too (a date with blanks, a checksum, a UUID).
It errs on that side on purpose: a kept text is for people to read. Features for the learner are made of the original.

The time is linear in the length of the text: every repetition has a bound, and none can begin inside another. Long
texts are gone through in steps (``substitution.py``): a rule's shortest hit fits in ``REACH`` characters.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from router_runtime.substitution import Replacement, substitute

EMAIL, PHONE, NUMBER, CARD, ACCOUNT, IP, SECRET = (
    "[email]",
    "[phone]",
    "[number]",
    "[card]",
    "[account]",
    "[ip]",
    "[secret]",
)
MIN_DIGITS = 7
"""A run of at least so many digits is taken for an identifier."""
_PHONE_DIGITS = (8, 15)
_CARD_DIGITS = (13, 19)
_DATE_OR_DECIMAL = re.compile(r"(?:\d{4}-\d{2}-\d{2}|\d+\.\d+)\Z")


def redact(text: str) -> str:
    """``text`` with markers in place of what looks private."""
    for pattern, replacement in _RULES:
        text = substitute(pattern, replacement, text)
    return text


def _address(match: re.Match[str]) -> str:
    """An address where it is one: times and C++ names have colons too."""
    try:
        ip_address(match.group())
    except ValueError:
        return match.group()
    return IP


def _digits(match: re.Match[str]) -> str:
    """Digits with blanks and dashes between them: a card, a phone number, or several numbers in a row."""
    found = match.group()
    digits = "".join(c for c in found if c.isdecimal())
    if _CARD_DIGITS[0] <= len(digits) <= _CARD_DIGITS[1] and _luhn(digits):
        return CARD
    if _DATE_OR_DECIMAL.match(found):
        return found
    written_as_phone = found.startswith(("+", "(")) or len(digits) < len(found)
    if written_as_phone and _PHONE_DIGITS[0] <= len(digits) <= _PHONE_DIGITS[1]:
        return PHONE
    return NUMBER  # a card with its date and code, two phone numbers, a card that was misspelt


def _luhn(digits: str) -> bool:
    """The check sum of card numbers (ISO/IEC 7812-1, annex B)."""
    values = [int(c) for c in reversed(digits)]
    doubled = sum(divmod(2 * value, 10)[0] + divmod(2 * value, 10)[1] for value in values[1::2])
    return (sum(values[::2]) + doubled) % 10 == 0


_MARKER = rf"(?:{'|'.join(re.escape(one) for one in (EMAIL, PHONE, NUMBER, CARD, ACCOUNT, IP, SECRET))})"
_KEY = "[A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
_BETWEEN_DIGITS = " ()./\u00a0\u2009\u202f\u2010-\u2013-"
_HEX = "0-9A-Fa-f"
_RULES: tuple[tuple[re.Pattern[str], Replacement], ...] = (
    # a private key up to its end; where that is cut off, its lines
    (
        re.compile(
            rf"-----BEGIN {_KEY}"
            rf"(?:(?:[^-]|-(?!----)){{0,16000}}-----END {_KEY}|(?:\s{{1,4}}[A-Za-z0-9+/=]{{16,256}}){{0,400}})"
        ),
        SECRET,
    ),
    # user:password@ of a URL, with slashes in the password too; up to the next URL, so that none is read twice
    (
        re.compile(
            r"(?<![\w+.-])([A-Za-z][A-Za-z0-9+.-]{1,20}://)"
            r"(?:[^\s/@]{1,512}+|[^\s/@:]{1,256}+:[^\s/@]{0,256}+(?:/[^\s/@]{1,64}+){1,4}+)@"
        ),
        rf"\1{SECRET}@",
    ),
    # the value of anything that calls itself a secret: between quotes up to the same one, else up to a blank or comma
    (
        re.compile(
            r"""((?i:(?:pass(?:word|wd|phrase|code)|pwd|secret|(?:api|access|account|encryption|private)[_-]?key)"""
            r"""(?:[_-][\w-]{1,24}+|key)?|token)\\?["']?\s{0,4}[=:]\s{0,4}(?:(["'])|\\["'])?)"""
            rf"""(?!{_MARKER})(?(2)(?:(?!\2)[^\\\n]|\\.){{4,512}}|(?!\s)(?:[^\s"',;\\]|\\(?!["'])){{4,512}})"""
        ),
        rf"\1{SECRET}",
    ),
    (
        re.compile(
            r"""((?i:authorization)\\?["']?\s{0,4}[=:]\s{0,4}\\?["']?(?:(?i:basic|bearer|token|digest)\s{1,4})?)"""
            rf"""(?!{_MARKER}|(?i:basic|bearer|token|digest)\s)[^\s"',;\\]{{6,512}}"""
        ),
        rf"\1{SECRET}",
    ),
    (re.compile(r"(\b(?i:bearer|basic)\s{1,4})[A-Za-z0-9+/=._~-]{16,}"), rf"\1{SECRET}"),
    # keys by the prefixes of their makers (OpenAI, Anthropic, Stripe, GitHub, GitLab, Slack, AWS, Google, Hugging Face)
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?:sk-|[srp]k_(?:live|test)_|gh[opsur]_|github_pat_|glpat-|xox[abeoprs]-|A[KS]IA|AIza|hf_)"
            r"[A-Za-z0-9_-]{12,}"
        ),
        SECRET,
    ),
    (re.compile(r"(?<![\w.%+-])[\w.%+-]{1,256}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), EMAIL),
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}(?:\.[\w-]*){0,2}"), SECRET),  # JSON web tokens, or what begins like one
    # long mixes of letters and digits: keys of other makers, checksums
    (re.compile(r"(?<![\w-])(?=[A-Za-z_-]{0,64}\d)(?=[\d_-]{0,64}[A-Za-z])[A-Za-z0-9_-]{32,}"), SECRET),
    (re.compile(r"(?<![\w-])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![\w-])"), ACCOUNT),
    (re.compile(r"(?<![\w-])[a-z]{2}\d{2}(?: ?\d{4}){3,7}(?: ?\d{1,3})?(?![\w-])"), ACCOUNT),
    (
        re.compile(
            rf"(?<![\w:.])(?:[{_HEX}]{{0,4}}:){{2,7}}(?:(?:\d{{1,3}}\.){{3}}\d{{1,3}}|[{_HEX}]{{1,4}})?(?![\w:])"
        ),
        _address,
    ),
    (re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])"), _address),
    (re.compile(rf"(?<![\w+])[+(]{{0,2}}\d(?:[{_BETWEEN_DIGITS}]{{0,2}}\d){{{MIN_DIGITS - 1},}}"), _digits),
)
