"""Server-sent events out of bytes that arrive in any pieces.

Follows the WHATWG's "Interpreting an event stream" (https://html.spec.whatwg.org/multipage/server-sent-events.html):
lines end with CR, LF or CRLF, a byte order mark is skipped, comments and unknown fields are ignored, ``data`` lines are
joined by LF, text is UTF-8 with errors replaced. An event that the end of the stream leaves unfinished is dropped.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from router_runtime.provider_errors import MalformedAnswer

#: Bound of one line and of one event, in bytes: the last event of OpenAI's Responses repeats the whole answer.
MAX_EVENT_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_USUAL = re.compile(rb"(?:event: ([^\r\n]*)\n)?data: ([^\r\n]*)\n\n")
_AROUND = len(b"data: \n\n")
_AROUND_NAMED = len(b"event: \n") + _AROUND


class ServerEvent(NamedTuple):
    """One event: its ``event`` field (empty where it has none) and its data."""

    event: str
    data: str


class EventDecoder:
    """Bytes in, events out; the same events however the bytes are split.

    Args:
        max_event_bytes: Bound of one line and of all data of one event.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.bound = max_event_bytes
        self._rest = bytearray()  # of the line that has not ended yet
        self._after_cr = False  # the last byte was a CR: an LF that follows belongs to it
        self._first_line = True
        self._event = ""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that ``data`` completes.

        Raises:
            MalformedAnswer: A line or an event is larger than the bound. Events before it in ``data`` are lost, so
                feed whole lines (see :meth:`lines`) where that matters.
        """
        return [event for line in self.lines(data) if (event := self.line(line)) is not None]

    @property
    def between(self) -> bool:
        """Whether the next byte begins a line of a new event."""
        return not (self._rest or self._after_cr or self._data or self._event)

    def usual(self, data: bytes) -> list[tuple[bytes, bytes]] | None:
        """(name, data) of each event where ``data`` is whole events in the usual form, as most reads of a stream are.

        None where it is anything else; it must then be given to :meth:`lines`. A third of the time of going by lines.
        """
        if not self.between or len(data) > self.bound:
            return None
        found: list[tuple[bytes, bytes]] = _USUAL.findall(data)
        length = 0
        for name, content in found:
            length += len(content) + (len(name) + _AROUND_NAMED if name else _AROUND)
        if length != len(data):  # something stands between them
            return None
        self._first_line = False
        return found

    def lines(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes, without their ends; what is left waits for the next call."""
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 10:  # LF
                data = data[1:]
        if not data:
            return []
        lines = data.splitlines()  # for bytes: at CR, LF and CRLF only
        rest = b""
        if data[-1] == 13:  # CR
            self._after_cr = True
        elif data[-1] != 10:
            rest = lines.pop()
        if lines and self._rest:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        self._rest += rest
        return lines

    @property
    def overflow(self) -> bool:
        """Whether the line that has not ended yet is larger than the bound."""
        return len(self._rest) > self.bound

    def line(self, line: bytes) -> ServerEvent | None:
        """Takes one line; the event that it ends, if it ends one.

        Raises:
            MalformedAnswer: The line or its event is larger than the bound.
        """
        if len(line) > self.bound:
            raise too_large(self.bound)
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        if line.startswith(b"data:"):
            self._add(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            self._event = line[6:].removeprefix(b" ").decode("utf-8", "replace")
        elif line == b"data":
            self._add(b"")
        return None

    def _add(self, value: bytes) -> None:
        self._data_bytes += len(value) + 1
        if self._data_bytes > self.bound:
            raise too_large(self.bound)
        self._data.append(value)

    def _dispatch(self) -> ServerEvent | None:
        name, self._event = self._event, ""
        if not self._data:
            return None
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data, self._data_bytes = [], 0
        return ServerEvent(name, data.decode("utf-8", "replace"))


def too_large(bound: int) -> MalformedAnswer:
    """The error of a line or event past its bound."""
    return MalformedAnswer(f"an event of the stream is larger than {bound} bytes")
