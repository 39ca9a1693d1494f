"""What stands in for a model without a key: two plans. The second is made from what the request says of the first."""

from __future__ import annotations

import json
from typing import Any

from agent_graph.model_server import Asked, Said

SERVICE = {"ref": "params.service"}
SPAN = {"since": {"ref": "params.since"}, "until": {"ref": "params.until"}}
METRIC = {"ref": "params.latency"}


def reply(asked: Asked) -> Said:
    so_far = '"id":"errors"' in asked.last  # the plan so far is in the request
    if not so_far:
        return _plan("Errors are the shortest way to a cause: read them, and what was deployed.", [ERRORS, DEPLOYED, *_filed(BY_ERRORS)])
    if "empty_result" in asked.last:
        return _plan(
            "Nothing was logged as an error, so it was slow without failing: look at the latency.", [*LATENCY, *_filed(BY_LATENCY)]
        )
    return {"reply": {"kind": "give_up", "reason": "the errors could not be read, and without them there is no lead"}}


def _plan(reason: str, steps: list[dict[str, Any]]) -> Said:
    answer = [
        {"name": "ticket", "value": {"ref": "steps.confirm.output.id"}},
        {"name": "report", "value": {"ref": "steps.report.output.markdown"}},
    ]
    return {"reply": {"kind": "plan", "reason": reason, "steps": steps, "answer": answer}}


def _step(name: str, tool: str, args: dict[str, Any], *criteria: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "do": {"tool": tool, "args": args}, "success_criteria": list(criteria), **more}


ERRORS = _step("errors", "search_logs", {"service": SERVICE, "level": "error", **SPAN}, allow_empty=False)
DEPLOYED = _step("deployed", "list_deployments", {"service": SERVICE, **SPAN})

LATENCY = [
    DEPLOYED,
    _step("slow", "find_outlier_windows", {"source": METRIC}, "size(output.windows) > 0"),
    _step("usual", "compare_with_other_days", {"source": METRIC, "windows": {"ref": "steps.slow.output.windows"}}),
    _step(
        "before",
        "deployments_before",
        {"windows": {"ref": "steps.slow.output.windows"}, "deployments": {"ref": "steps.deployed.output"}},
        "output.exists(w, size(w.deployments) > 0)",
    ),
    _step("past", "find_past_incidents", {"service": SERVICE, "symptom": "latency"}),
]

BY_ERRORS = """\
# {{ service }}: errors
{% for line in errors %}
- {{ line.at|clock }} {{ line.message }}
{% endfor %}

Deployed: {% for each in deployed %}{{ each.version }} at {{ each.at|clock }}; {% endfor %}"""

BY_LATENCY = """\
# {{ service }} was slow without an error

No error was logged between {{ since|clock }} and {{ until|clock }}.
{% for window in before %}{% if window.deployments %}{% set then = usual[loop.index0] %}

## Latency, {{ window.start|clock }} to {{ window.until|clock }}

- Mean {{ then.mean|number }} ms; at these hours of {{ then.days }} other days {{ then.usual|number }} ms.
{% for each in window.deployments %}
- Deployed before, at {{ each.at|clock }}: {{ each.service }} {{ each.version }}. {{ each.change }}
{% endfor %}
{% endif %}{% endfor %}

## It has happened before
{% for each in past %}
- {{ each.id }}, {{ each.at|clock }}: {{ each.title }}. Cause: {{ each.cause }}. Remedy: {{ each.remedy }}.
{% else %}
No incident of this kind is on record.
{% endfor %}

That a deployment came before is a lead, not a proof."""


def _filed(template: str) -> list[dict[str, Any]]:
    """Report, ticket, and the ticket read back."""
    of_errors = template is BY_ERRORS
    values = {"errors": "errors", "deployed": "deployed"} if of_errors else {"before": "before", "usual": "usual", "past": "past"}
    shown: dict[str, Any] = {name: {"ref": f"steps.{step}.output"} for name, step in values.items()}
    if not of_errors:
        shown["usual"] = {"ref": "steps.usual.output.windows"}
    return [
        _step("report", "render_report", {"text": template, "values": json.dumps({"service": SERVICE, **SPAN, **shown})}),
        _step(
            "ticket",
            "open_ticket",
            {"title": {"ref": "steps.report.output.title"}, "body": {"ref": "steps.report.output.markdown"}, "severity": "medium"},
        ),
        _step("confirm", "find_ticket", {"ticket_id": {"ref": "steps.ticket.output.id"}}, "output.title == steps.report.output.title"),
    ]
