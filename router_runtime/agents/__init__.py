"""Agents: callers that say who they are and what they want, and never which model answers."""

from router_runtime.agents.agent import Agent
from router_runtime.agents.matching import AgentChoice
from router_runtime.agents.roster import Roster

__all__ = ["Agent", "AgentChoice", "Roster"]
