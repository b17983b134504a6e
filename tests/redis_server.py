"""A real Redis of the tests' own: in memory, on a free port of the loopback, ended by its id."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from types import TracebackType

_INSTALL = "Redis's server is not installed; run: sudo sh .ci/system-packages tests"


class RedisServer:
    """One server; ``start`` and ``stop`` it any number of times, ``freeze`` and ``thaw`` it in between."""

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError(_INSTALL)
        self._program, self.port = program, _free_port()
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._server = subprocess.Popen([self._program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(16).startswith(b"+PONG"):
                        return
            except OSError:
                if self._server.poll() is not None:
                    break
            time.sleep(0.05)
        raise RuntimeError(f"Redis did not start (exit status {self._server.poll()})")

    def stop(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait(timeout=10)
            self._server = None

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
