"""What replicas share: budgets, doors of providers, disabled models, rates; through Redis."""

from router_runtime.state.shared import SharedState, is_shared

__all__ = ["SharedState", "is_shared"]
