"""The outcome log's housekeeping while the gateway serves: closed spools become Parquet, and old days go.

It runs as ``pointsman seal`` in a process of its own, so that a request waits neither for the work nor for its memory.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path

from router_runtime.gateway.service import Service
from router_runtime.stores.opening import local_folder

FIRST_S, EVERY_S = 300.0, 3600.0


async def care(service: Service) -> None:
    """Five minutes after the start and every hour; never where no folder takes the log."""
    log = service.router.log
    folder = None if log is None or log.place is None else local_folder(log.place)
    if folder is None or find_spec("pyarrow") is None:
        return
    await asyncio.sleep(FIRST_S)
    while True:
        await seal_once(folder, service.keep_s)
        await asyncio.sleep(EVERY_S)


async def seal_once(folder: Path, keep_s: float | None) -> int:
    """Seals, and deletes days that are older than ``keep_s`` seconds (None deletes none); gives the exit status.

    What went wrong stands on stderr; the next hour tries again.
    """
    more = [] if keep_s is None else ["--keep", f"{max(keep_s / 86_400, 1e-6):.6f}d"]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "router_runtime.cli", "seal", "--log", str(folder.absolute()), *more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        return await child.wait()
    finally:
        if child.returncode is None:  # a sealer that is killed half way does no harm
            child.kill()
            await child.wait()
