"""Pointsman's runtime: reads each request to a language model and chooses the model that shall answer it.

::

    from router_runtime import Router

    router = Router.open("models/default", registry="registry.yaml")
    decision = router.route("What is the capital of France?", tier="free")
    print(decision.chosen, decision.best.cost_usd)

Light on purpose: numpy, onnxruntime, httpx and PyYAML are all that it needs.
"""

from router_runtime.bundle import Bundle, open_bundle
from router_runtime.errors import (
    BundleError,
    ConfigError,
    NoCandidateError,
    PointsmanError,
    RegistryError,
    RequestError,
    UnknownModelError,
)
from router_runtime.explain import Explanation, explain
from router_runtime.records import Attempt, Candidate, Decision, Feedback, TaskProfile
from router_runtime.registry import Registry
from router_runtime.registry_reader import load_registry
from router_runtime.router import Router

__version__ = "0.1.0"

__all__ = [
    "Attempt",
    "Bundle",
    "BundleError",
    "Candidate",
    "ConfigError",
    "Decision",
    "Explanation",
    "Feedback",
    "NoCandidateError",
    "PointsmanError",
    "Registry",
    "RegistryError",
    "RequestError",
    "Router",
    "TaskProfile",
    "UnknownModelError",
    "__version__",
    "explain",
    "load_registry",
    "open_bundle",
]
