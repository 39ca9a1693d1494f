"""One configuration for all roles: from a mapping, a file, the environment; and what is wrong with it, said at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from agent_graph.errors import InvalidDocument, UsageError
from agent_graph.models.clients import MOST_BY_STEP, Clients, with_model
from agent_graph.models.environment import variables
from agent_graph.models.roles import Models, RoleModel
from agent_graph.plan import Step

FILE = """
planner:
  model: openai:gpt-5
  reasoning_effort: high
  timeout_s: 300
  fallback: openai:gpt-4.1
executor: openai:gpt-5-mini
judge:
  model: anthropic:claude-sonnet-4-5
  max_money: 0.5
specialists:
  writer:
    model: openai:gpt-4.1
    description: writes for customers
    tools: [find_page]
judge_plans: true
"""


def test_a_file_says_what_a_mapping_says(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(FILE)
    mapping: dict[str, Any] = {
        "planner": {
            "model": "openai:gpt-5",
            "reasoning_effort": "high",
            "timeout_s": 300,
            "fallback": "openai:gpt-4.1",
        },
        "executor": "openai:gpt-5-mini",
        "judge": RoleModel(model="anthropic:claude-sonnet-4-5", max_money=0.5),
        "specialists": {"writer": {"model": "openai:gpt-4.1", "description": "writes for customers", "tools": ["find_page"]}},
        "judge_plans": True,
    }
    assert Models.of(path) == Models.of(str(path)) == Models.of(mapping)
    assert Models.of(Models.of(mapping)) == Models.of(mapping)


def test_a_model_object_is_kept_as_it_is() -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("hi")]))
    found = Models.of({"planner": model, "judge": {"model": model, "max_asks": 1}})
    assert found.planner is not None
    assert found.judge is not None
    assert found.planner.model is model
    assert found.judge.model is model


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"planer": "openai:x"},
            ["planer: this is not known here", "there is planner, replanner, executor, judge, summarizer, specialists"],
        ),
        ({"planner": {"model": "openai:x", "temprature": 1}}, ["planner.temprature: this is not known here", "temperature"]),
        ({"planner": {}}, ["planner.model: this field is missing"]),
        ({"planner": ""}, ["planner.model: name a model, such as openai:gpt-5-mini"]),
        ({"planner": 5}, ["planner.model: 5 is not a model"]),
        ({"planner": {"model": "openai:x", "reasoning_effort": "huge"}}, ["planner.reasoning_effort", "'minimal', 'low'"]),
        ({"planner": {"model": "openai:x", "timeout_s": 0}}, ["planner.timeout_s", "greater than 0"]),
        ({"planner": {"model": "openai:x", "fallback": {"modell": "y"}}}, ["planner.fallback", "modell"]),
        ({"specialists": {"writer": {"model": "openai:x"}}}, ["specialists.writer.description: this field is missing"]),
        ({"specialists": {"a writer": {"model": "openai:x", "description": "w"}}}, ["specialists", "a writer"]),
        ({"planner": {"model": object(), "temperature": 1}}, ["temperature cannot be set beside it"]),
        ({"planner": {"max_asks": 0, "model": "openai:x"}, "judge": {}}, ["planner.max_asks", "judge.model"]),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(given: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(InvalidDocument) as error:
        Models.of(given)
    assert [each for each in says if each not in str(error.value)] == []


def test_a_file_that_is_wrong_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("planner:\n  model: openai:x\n  tiemout_s: 3\n")
    with pytest.raises(InvalidDocument, match=r"models\.yaml, line 3: planner\.tiemout_s"):
        Models.of(path)


@pytest.mark.parametrize("given", [None, 5, ["openai:x"], "no-such-file.yaml", "openai:gpt-5"])
def test_what_is_no_configuration_is_refused(given: Any) -> None:
    with pytest.raises(UsageError):
        Models.of(given)


# ── the environment ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_variable_gives_planner_executor_and_judge_their_model_and_no_summarizer() -> None:
    found = Models.from_env({"AGENT_GRAPH_MODEL": "openai:gpt-5-mini", "HOME": "elsewhere", "AGENT_GRAPH_KEY": "secret"})
    assert {role: getattr(found, role).model for role in ("planner", "executor", "judge")} == dict.fromkeys(
        ("planner", "executor", "judge"), "openai:gpt-5-mini"
    )
    assert (found.replanner, found.summarizer) == (None, None)


def test_a_role_s_own_variables_are_read_with_their_types() -> None:
    found = Models.from_env(
        {
            "AGENT_GRAPH_MODEL": "openai:small",
            "AGENT_GRAPH_PLANNER_MODEL": "openai:big",
            "AGENT_GRAPH_PLANNER_REASONING_EFFORT": "high",
            "AGENT_GRAPH_PLANNER_TIMEOUT_S": "300",
            "AGENT_GRAPH_EXECUTOR_MAX_MONEY": "0.5",
            "AGENT_GRAPH_JUDGE_MODEL": "",
        }
    )
    assert found.planner == RoleModel(model="openai:big", reasoning_effort="high", timeout_s=300)
    assert found.executor == RoleModel(model="openai:small", max_money=0.5)
    assert found.judge == RoleModel(model="openai:small")


def test_the_environment_stands_over_a_file_field_by_field() -> None:
    base = Models.of({"planner": {"model": "openai:big", "timeout_s": 5}, "summarizer": "openai:tidy"})
    found = Models.from_env({"AGENT_GRAPH_MODEL": "openai:small", "AGENT_GRAPH_PLANNER_MAX_RETRIES": "0"}, base)
    assert found.planner == RoleModel(model="openai:big", timeout_s=5, max_retries=0)
    assert found.summarizer == base.summarizer
    assert found.executor == RoleModel(model="openai:small")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("AGENT_GRAPH_PLANER_MODEL", "openai:x", "AGENT_GRAPH_PLANNER_MODEL"),
        ("AGENT_GRAPH_PLANNER_TIMEOUT", "3", "AGENT_GRAPH_PLANNER_TIMEOUT_S"),
        ("AGENT_GRAPH_JUDGE_TIMEOUT_S", "3", "set AGENT_GRAPH_JUDGE_MODEL too"),
    ],
)
def test_a_variable_that_cannot_be_used_names_the_one_that_can(name: str, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"{name}.*{says}"):
        Models.from_env({name: text})


def test_remarks_on_plans_are_asked_for_by_a_variable_of_their_own() -> None:
    given = {"AGENT_GRAPH_JUDGE_MODEL": "openai:x"}
    assert [Models.from_env({**given, "AGENT_GRAPH_JUDGE_PLANS": text}).judge_plans for text in ("true", "0", "")] == [True, False, False]
    with pytest.raises(UsageError, match="AGENT_GRAPH_JUDGE_PLANS is 'maybe'"):
        Models.from_env({**given, "AGENT_GRAPH_JUDGE_PLANS": "maybe"})


def test_what_is_kept_of_an_environment_speaks_of_models_and_holds_no_key() -> None:
    given = {"AGENT_GRAPH_MODEL": "openai:x", "AGENT_GRAPH_KEY": "secret", "OPENAI_API_KEY": "secret", "AGENT_GRAPH_JUDGE_KEY_FROM": "KEY"}
    assert variables(given) == {"AGENT_GRAPH_MODEL": "openai:x", "AGENT_GRAPH_JUDGE_KEY_FROM": "KEY"}


def test_a_value_that_cannot_be_used_is_named() -> None:
    with pytest.raises(UsageError, match=r"AGENT_GRAPH_PLANNER_TIMEOUT_S: .*'soon'"):
        Models.from_env({"AGENT_GRAPH_PLANNER_MODEL": "openai:x", "AGENT_GRAPH_PLANNER_TIMEOUT_S": "soon"})


# ── making ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_provider_whose_package_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(UsageError, match=r"role judge: 'anthropic:claude' cannot be made: .*pip install langchain-anthropic"):
        Clients(Models.of({"judge": "anthropic:claude"})).of("judge")


def test_what_is_no_chat_model_is_refused_when_it_is_first_asked() -> None:
    with pytest.raises(UsageError, match=r"role judge: .*is not a chat model"):
        Clients(Models.of({"judge": {"model": object()}})).of("judge")


def test_a_fallback_that_cannot_be_made_is_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    with pytest.raises(UsageError, match="langchain-anthropic"):
        Clients(Models.of({"judge": {"model": "openai:x", "fallback": "anthropic:claude"}})).of("judge")


def test_threads_that_ask_first_get_the_same_client(monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.setenv("OPENAI_API_KEY", "test")
    clients = Clients(Models.of({"judge": "openai:x"}))
    with ThreadPoolExecutor(8) as pool:
        assert len({id(each) for each in pool.map(lambda _: clients.of("judge"), range(16))}) == 1


# ── one role's settings with another model ────────────────────────────────────────────────────────────────────────────


SPEC = RoleModel(
    model="openai:a",
    base_url="https://gateway.example/v1",
    key_from="GATEWAY",
    reasoning_effort="low",
    timeout_s=5,
    max_asks=1,
    max_tokens=9,
)


def test_another_model_of_the_same_provider_is_asked_in_the_same_way() -> None:
    assert with_model(SPEC, "openai:b") == SPEC.model_copy(update={"model": "openai:b"})


def test_another_provider_is_sent_neither_the_key_nor_to_the_address_of_the_first() -> None:
    assert with_model(SPEC, "groq:b") == RoleModel(model="groq:b", timeout_s=5, max_asks=1, max_tokens=9)


def test_an_object_keeps_its_own_settings_and_takes_the_bounds() -> None:
    model = GenericFakeChatModel(messages=iter([]))
    assert with_model(SPEC, model) == RoleModel(model=model, max_asks=1, max_tokens=9)
    assert with_model(RoleModel(model=model, max_asks=1), "openai:b") == RoleModel(model="openai:b", max_asks=1)


def test_a_fallback_has_no_fallback_of_the_first_one_s() -> None:
    assert with_model(RoleModel(model="openai:a", fallback="openai:b"), "openai:b").fallback is None


def test_models_that_plans_name_are_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    clients = Clients(Models.of({"executor": GenericFakeChatModel(messages=iter([]))}))
    own = clients.of("executor")
    for number in range(MOST_BY_STEP + 5):
        clients.of_step(Step(id="a", model="x", use_model=f"openai:m{number}"))
    assert len(clients._made) == MOST_BY_STEP + 1
    assert clients.of("executor") is own


@pytest.mark.parametrize("fallback", [5, "", ["a"], True])
def test_a_fallback_that_is_no_model_is_said_so(fallback: Any) -> None:
    with pytest.raises(InvalidDocument, match="model"):
        Models.of({"planner": {"model": "openai:gpt-5", "fallback": fallback}})
