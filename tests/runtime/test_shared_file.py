"""Small shared files: whole or not at all, and never taken from whom they are for."""

import json
import os
import pwd
import resource
import signal
from pathlib import Path

import pytest

from router_runtime.errors import StoreError
from router_runtime.shared_file import rewrite
from tests.forked import in_child

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def somebody(tmp_path):
    """(user, group) who owns ``tmp_path``."""
    user = pwd.getpwnam("nobody")
    os.chown(tmp_path, user.pw_uid, user.pw_gid)
    return user.pw_uid, user.pw_gid


def owners(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_uid, path.stat().st_gid) for path in folder.iterdir()}


@as_root
def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path, somebody):
    """``sudo pointsman disable`` beside a gateway of another user, which could not read it, nor start again."""
    for state in ("new", "again"):
        rewrite(tmp_path / "f.json", ".lock", lambda state=state: state)
        assert owners(tmp_path) == {"f.json": somebody, ".lock": somebody}
    os.chown(tmp_path / "f.json", 0, 0)  # by a former release
    rewrite(tmp_path / "f.json", ".lock", lambda: "mended")
    assert owners(tmp_path) == {"f.json": somebody, ".lock": somebody}


@as_root
def test_a_file_keeps_its_owner_and_who_may_read_it(tmp_path, somebody):
    os.chown(tmp_path, 0, 0)
    path = tmp_path / "f.json"
    path.write_text("{}")
    path.chmod(0o640)
    os.chown(path, *somebody)
    rewrite(path, ".lock", lambda: "new")
    assert (owners(tmp_path)["f.json"], path.stat().st_mode & 0o777) == (somebody, 0o640)


@as_root
def test_a_lock_that_leads_elsewhere_is_refused(tmp_path, somebody):
    """Root must not be led to give a file of its own away."""
    (tmp_path / "precious").touch()
    (tmp_path / ".lock").symlink_to("precious")
    with pytest.raises(StoreError, match="cannot be written"):
        rewrite(tmp_path / "f.json", ".lock", lambda: "new")
    assert owners(tmp_path)["precious"] == (0, 0)


def test_a_new_file_is_its_owners_alone(tmp_path):
    rewrite(tmp_path / "folder" / "f.json", ".lock", lambda: {"a": 1})
    assert json.loads((tmp_path / "folder" / "f.json").read_bytes()) == {"a": 1}
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "folder").iterdir()} == {0}


def test_a_full_disk_leaves_the_former_file_and_nothing_else(tmp_path):
    path = tmp_path / "f.json"
    rewrite(path, ".lock", lambda: "former")

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, resource.RLIM_INFINITY))
        with pytest.raises(StoreError, match="File too large"):
            rewrite(path, ".lock", lambda: "x" * 100)

    in_child(fill)
    assert json.loads(path.read_bytes()) == "former"
    assert sorted(one.name for one in tmp_path.iterdir()) == [".lock", "f.json"]
