"""The models of an agent, made when they are first asked."""

from __future__ import annotations

from agent_graph.models.client import RoleClient
from agent_graph.models.roles import Models, Role
from agent_graph.plan import Step


class Clients:
    """Of one agent. A model is made, and its library loaded, at the first request."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def has(self, role: Role) -> bool:
        """Whether the role has a model."""
        return getattr(self.models, role) is not None

    def of(self, role: Role) -> RoleClient:
        """Raises UsageError that says what to give, when the role has no model, or its spec cannot be used."""
        raise NotImplementedError

    def of_step(self, step: Step) -> RoleClient:
        """Whoever carries out a ``model`` or ``agent`` step: its own model, its specialist, or the executor role. Raises UsageError."""
        raise NotImplementedError
