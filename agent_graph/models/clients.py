"""The models of an agent, made when they are first asked."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent_graph.errors import UsageError
from agent_graph.models.roles import AS, OF_A_SPEC, ROLES, Models, Role, RoleModel, Specialist
from agent_graph.plan import Step
from agent_graph.ports import Bounds

if TYPE_CHECKING:
    from agent_graph.models.client import RoleClient

MOST_BY_STEP = 32
"""Models named by steps that are kept ready."""


class Clients:
    """Of one agent. A model is made, and its library loaded, at the first request. Threads may ask side by side."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self._made: OrderedDict[str, RoleClient] = OrderedDict()
        self._making = threading.RLock()

    def has(self, role: Role) -> bool:
        """Whether the role has a model. A replanner is the planner, unless it has its own."""
        return self._spec(role) is not None

    def of(self, role: Role) -> RoleClient:
        """Raises UsageError that says what to give, when the role has no model, or its spec cannot be used."""
        spec = self._spec(role)
        if spec is None:
            raise UsageError(
                f"role {role} has no model: give AgentGraph(models={{{role!r}: 'openai:MODEL'}}), a models file, or AGENT_GRAPH_{role.upper()}_MODEL"
            )
        own = role != "replanner" or self.models.replanner is not None
        return self._client(role if own else "planner", role if own else "planner", spec)

    def of_step(self, step: Step) -> RoleClient:
        """Whoever carries out a ``model`` or ``agent`` step: its own model, its specialist, or the executor role. Raises UsageError."""
        spec: RoleModel | None = self.models.executor
        specialist = ""
        if step.executor is not None:
            specialist, spec = step.executor, self.models.specialists.get(step.executor)
            if spec is None:
                known = ", ".join(self.models.specialists) or "none"
                raise UsageError(f"step {step.id!r} is for specialist {specialist!r}, whom there is not; there is {known}")
        if step.use_model is not None:
            spec = RoleModel(model=step.use_model) if spec is None else with_model(spec, step.use_model)
        if spec is None:
            raise UsageError(
                f"step {step.id!r} needs an executor's model: give AgentGraph(models={{'executor': 'openai:MODEL'}}), a models file, or "
                "AGENT_GRAPH_EXECUTOR_MODEL"
            )
        key = f"executor/{specialist}/{step.use_model}" if specialist or step.use_model else "executor"
        return self._client(key, "executor", spec, specialist)

    def keys(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The keys that ``key_from`` names, by a name that says what they are: to be kept out of what is written down."""
        roles = [getattr(self.models, role) for role in ROLES]
        specs = [spec for spec in (*roles, *self.models.specialists.values()) if spec is not None]
        specs += [spec.fallback for spec in specs if isinstance(spec.fallback, RoleModel)]
        return {f"{spec.key_from} API_KEY": environ[spec.key_from] for spec in specs if environ.get(spec.key_from or "")}

    def _spec(self, role: Role) -> RoleModel | None:
        own: RoleModel | None = getattr(self.models, role)
        return own if own is not None or role != "replanner" else self.models.planner

    def _client(self, key: str, role: Role, spec: RoleModel, specialist: str = "") -> RoleClient:
        with self._making:
            if key not in self._made:
                self._made[key] = client_of(spec, role, specialist)
                by_step = [name for name in self._made if "/" in name]
                for name in by_step[: max(0, len(by_step) - MOST_BY_STEP)]:
                    del self._made[name]
            self._made.move_to_end(key)
            return self._made[key]


def client_of(spec: RoleModel, role: Role, specialist: str = "") -> RoleClient:
    """Raises UsageError. A fallback is made at once: what is wrong with it must not show when it is needed."""
    from agent_graph.models.advice import advice_on
    from agent_graph.models.client import RoleClient
    from agent_graph.models.making import make_model

    model = make_model(spec, f"specialist {specialist}" if specialist else f"role {role}")
    fallback = spec.fallback
    if fallback is not None and not isinstance(fallback, RoleModel):
        fallback = with_model(spec, fallback)
    named = spec.model if isinstance(spec.model, str) else None
    made = RoleClient(
        model,
        role,
        name=named,
        max_asks=spec.max_asks,
        method=spec.method,
        fallback=client_of(fallback, role, specialist) if fallback is not None else None,
        bounds=Bounds(
            max_requests=spec.max_requests,
            max_tokens=spec.max_tokens,
            max_money=spec.max_money,
            max_reply_tokens=spec.max_reply_tokens,
            specialist=specialist,
        ),
        advice=advice_on(role, specialist, spec, model),
        timeout_s=spec.timeout_s if isinstance(spec.model, str) else None,
    )
    if specialist:
        made.name += f"{AS}{specialist}"
    return made


def with_model(spec: RoleModel, model: Any) -> RoleModel:
    """The same settings with another model, as far as they can be the other's too: its address, key and method only at the same provider."""
    named = isinstance(spec.model, str) and isinstance(model, str)
    same = named and spec.model.partition(":")[0] == model.partition(":")[0]
    left_out = {"model", "fallback"} | Specialist.model_fields.keys() - RoleModel.model_fields.keys()
    left_out |= set() if same else {"base_url", "key_from", "reasoning_effort", "method"}
    left_out |= set() if isinstance(model, str) else OF_A_SPEC
    return RoleModel(**spec.model_dump(exclude_unset=True, exclude=left_out), model=model)
