"""HTTP by hand, for clients that misbehave."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit


def connect(url: str, receive_buffer: int | None = None) -> socket.socket:
    where = urlsplit(url)
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(10)
    sock.connect((where.hostname, where.port))
    return sock


def request(path: str, body: Any = None, headers: dict[str, str] | None = None, method: str = "POST") -> bytes:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    sent = {"host": "127.0.0.1", "content-length": str(len(data)), **(headers or {})}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + data


def read_all(sock: socket.socket) -> bytes:
    """Everything until the server ends the connection."""
    parts = []
    try:
        while part := sock.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def status_of(data: bytes) -> int:
    return int(data.split(b" ", 2)[1])
