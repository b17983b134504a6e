"""A real PostgreSQL of the tests' own: made in a temporary folder, on a free port of the loopback, ended by its id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_INSTALL = "PostgreSQL's server is not installed; run: sudo sh .ci/system-packages tests"


def programs() -> Path:
    """The folder of ``initdb`` and ``postgres``, the newest of Debian's.

    Raises:
        RuntimeError: Where there is none.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    other = shutil.which("initdb")
    if other is None:
        raise RuntimeError(_INSTALL)
    return Path(other).resolve().parent


@contextmanager
def postgres_server() -> Iterator[str]:
    """A server that ends with the block; gives the URL of its empty database."""
    folder, bin_folder = Path(tempfile.mkdtemp(prefix="pointsman-pg-")), programs()
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    if user is not None:
        shutil.chown(folder, user)
    data, port = folder / "data", _free_port()
    make = [bin_folder / "initdb", "-D", data, "-U", "tests", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
    subprocess.run(make, check=True, capture_output=True, user=user, cwd=folder)
    options = ["-c", "listen_addresses=127.0.0.1", "-p", str(port), "-k", folder, "-c", "fsync=off"]
    server = subprocess.Popen(
        [bin_folder / "postgres", "-D", data, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=user,
        cwd=folder,
    )
    try:
        _wait(bin_folder / "pg_isready", port, server)
        yield f"postgresql://tests@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown: ends sessions, loses nothing
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(ready: Path, port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if subprocess.run([ready, "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode == 0:
            return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start (exit status {server.poll()})")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
