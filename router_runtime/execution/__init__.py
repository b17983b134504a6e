"""One call: deadline, attempts, fallback, the first-token rule, and the books of what it took."""

from router_runtime.execution.engine import Engine
from router_runtime.execution.retry import RetrySettings
from router_runtime.execution.settings import Completion, ExecutionSettings, StreamItem, StreamRestart
from router_runtime.execution.streams import ChatStream

__all__ = ["ChatStream", "Completion", "Engine", "ExecutionSettings", "RetrySettings", "StreamItem", "StreamRestart"]
