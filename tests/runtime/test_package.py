"""The package as a whole: what it exports, what it loads, and its errors."""

import inspect
import json
import subprocess
import sys

import router_runtime
from router_runtime import errors

HEAVY = ("sklearn", "pandas", "scipy", "lightgbm", "onnx", "mlflow", "pyarrow", "duckdb", "matplotlib", "rich")
HEAVY += ("redis", "prometheus_client", "opentelemetry", "starlette", "litellm")


def test_the_exported_members_are_sorted_and_there():
    names = router_runtime.__all__
    assert names == sorted(names)
    assert all(hasattr(router_runtime, name) for name in names)
    public = {
        name for name, value in vars(router_runtime).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public | {"__version__"} == set(names)


def test_importing_and_opening_load_nothing_heavy(bundle_folder):
    code = f"""
import json, sys
from router_runtime import Router
decision = Router.open({str(bundle_folder)!r}, state_dir=None).route("Hello")
print(json.dumps([decision.bundle_version] + [name for name in {HEAVY!r} if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, *loaded = json.loads(done.stdout)
    assert loaded == []
    assert len(version) == 12


def test_every_error_is_in_the_tree_and_its_drawing():
    found = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert all(issubclass(error, errors.PointsmanError) for error in found)
    assert [error.__name__ for error in found if error.__name__ not in errors.__doc__] == []
