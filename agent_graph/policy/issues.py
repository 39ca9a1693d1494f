"""The closed list of what can be wrong with a plan. docs/issues.md shows it; a test holds the two together."""

from __future__ import annotations

ISSUES: dict[str, str] = {
    "no_steps": "The plan has no steps, and no answer either.",
    "too_many_steps": "The plan has more steps than the limits allow.",
    "duplicate_step": "Two steps have the same id.",
    "unknown_tool": "A step names a tool that is not registered.",
    "tool_not_allowed": "A step calls a tool that is not among its own `allowed_tools`.",
    "invalid_arguments": "The arguments do not match the tool's schema, through references where the type is known.",
    "unknown_param": "A reference names a parameter that the goal does not have.",
    "dangling_reference": "A reference, a dependency or an expression names a step that is not in the plan.",
    "invalid_reference": "The path in a reference is not JMESPath.",
    "unknown_output": "A reference names a place that the tool's output does not have.",
    "forward_reference": "A step uses one that stands after it; steps are listed in an order in which they can run.",
    "cycle": "Steps wait for each other in a circle.",
    "invalid_expression": "A condition or criterion is not a CEL expression, or reads what cannot be read there.",
    "invalid_schema": "`expected_output` is not a JSON Schema.",
    "invalid_fallback": "`on_failure: step:<id>` names a step that cannot stand in.",
    "denied_by_policy": "The policy denies the call, whoever approves it.",
    "frozen_step_changed": "A new version changes a step that has ended.",
    "not_supported": "The plan uses something that this version of agent-graph parses but cannot execute yet.",
    "risk_understated": "The planner claims a lower risk than its tools have. A warning: the computed risk counts.",
}
