# Each target first makes the virtual environment that it needs: with uv where it is installed, else with python3 and pip.
#   make test PYTEST_ARGS="-x tests/unit"      make demo PYTHON=python3.12
# Plain make, on purpose: GNU make 3.81, which macOS ships, runs it too.

VENV := .venv
CONSTRAINTS := constraints.txt
PYTEST_ARGS :=
# How many files of tests run side by side; 0: one after the other, in this process.
TEST_JOBS := 2
STUDIO_ARGS :=
CHAOS_KILLS := 6000
CHAOS_SEED := 4
CHAOS_ARGS :=
BENCH_ARGS :=
# PYTHON is taken from the environment or the command line; empty means: the first of these that is new enough.
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)

# What another project left in the environment must not leak into this one.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help demo studio test chaos bench check format constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.runtime ## investigate a real incident, from the plan to the ticket; no key, no network
	@$(VENV)/bin/agent-graph demo

# More than one at a time, which is langgraph's default: a slow run would keep every other from its gate.
studio: $(VENV)/.studio ## the graph in LangGraph Studio, with the same runs; no key (docs/studio.md)
	@LANGSMITH_TRACING=$${LANGSMITH_TRACING:-false} LANGGRAPH_CLI_NO_ANALYTICS=1 \
		$(VENV)/bin/langgraph dev --no-browser --n-jobs-per-worker 10 --config langgraph.json $(STUDIO_ARGS)

# Not `python -m pytest`: that puts the root on sys.path, where the links nodes, tools and checkpoints are.
test: $(VENV)/.dev ## all tests, offline but for what npm fetches once; ends with what was not run because a program is absent
	@$(VENV)/bin/pytest -n $(TEST_JOBS) --dist loadfile $(PYTEST_ARGS)

# Thousands of processes are killed; the seed settles the plans and the moments, the operating system the rest.
chaos: $(VENV)/.dev ## kill processes, resume, count effects: about ten minutes; CHAOS_ARGS=--write puts the figures into the docs
	@PYTHONPATH=tests $(VENV)/bin/python -P -m chaos --kills $(CHAOS_KILLS) --seed $(CHAOS_SEED) $(CHAOS_ARGS)

# What is compared takes turns in one run; the figures of a machine that does something else meanwhile are not worth keeping.
bench: $(VENV)/.bench ## what a step costs, beside LangGraph and DBOS: about ten minutes; BENCH_ARGS=--quick a minute, =--write the docs
	@PYTHONPATH=tests $(VENV)/bin/python -P -m bench $(BENCH_ARGS)

check: $(VENV)/.dev ## format, lint, types, and who may import whom
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.dev ## format, and repair what ruff can repair by itself
	$(VENV)/bin/ruff check --fix-only
	$(VENV)/bin/ruff format

# With the oldest Python that is supported: a version chosen by a newer one may not exist for it.
constraints: ## write constraints.txt anew, from the newest versions that pyproject.toml allows
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(MAKE) VENV="$$fresh/venv" CONSTRAINTS= PYTHON="$(if $(PYTHON),$(PYTHON),python3.11)" "$$fresh/venv/.dev" "$$fresh/venv/.bench" && \
	"$$fresh/venv/bin/python" -c '$(FREEZE)' >"$$fresh/frozen" && cp "$$fresh/frozen" constraints.txt

# Not `pip freeze`: uv and pip spell names differently, and one environment should give one file.
FREEZE = import importlib.metadata as metadata; \
	own = {"agent-graph", "pip", "setuptools", "wheel"}; \
	found = {d.name.lower().replace("_", "-").replace(".", "-"): d.version for d in metadata.distributions()}; \
	print("\n".join(f"{name}=={found[name]}" for name in sorted(found.keys() - own)))

clean: ## remove the environment and caches; runs under .agent-graph/ are yours and stay
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find agent_graph tests -name __pycache__ -type d -prune -exec rm -rf {} +

# ── the virtual environment ───────────────────────────────────────────────────────────────────────────────────────────
# Stamps, each written last, so that half an environment is never taken for a whole one: the demo does not wait for mypy.

# uv makes environments without pip, so the environment itself says who made it.
INSTALL = if [ -x $(VENV)/bin/pip ]; then set -- $(VENV)/bin/python -m pip install -q --disable-pip-version-check; \
	else set -- uv pip install -q --python $(VENV)/bin/python; fi; \
	"$$@" $(if $(CONSTRAINTS),-c $(CONSTRAINTS))

$(VENV)/.runtime: pyproject.toml $(CONSTRAINTS)
	@rm -rf $(VENV)
	@if uv --version >/dev/null 2>&1; then \
		echo "setting up $(VENV) with uv"; \
		uv venv -q $(if $(PYTHON),--python $(PYTHON)) $(VENV) || exit 1; \
	else \
		for python in $(CANDIDATES); do \
			"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
			python=; \
		done; \
		if [ -z "$$python" ]; then \
			echo "agent-graph needs Python 3.11 or newer; tried: $(CANDIDATES)." >&2; \
			echo "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; \
		fi; \
		echo "setting up $(VENV) with $$("$$python" --version) and pip"; \
		if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
			version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
			echo "$$python cannot make virtual environments: Debian and Ubuntu keep that in a package of its own." >&2; \
			echo "Install it: apt install python$$version-venv (python3-venv is the one for the default python3)" >&2; exit 1; \
		fi; \
		"$$python" -m venv $(VENV) || exit 1; \
	fi
	@$(INSTALL) -e .
	@touch $@

# Its tests start the real server, so the development environment has it, too.
$(VENV)/.studio: $(VENV)/.runtime
	@$(INSTALL) -e '.[studio]'
	@touch $@

$(VENV)/.bench: $(VENV)/.runtime
	@$(INSTALL) -e '.[bench]'
	@touch $@

$(VENV)/.dev: $(VENV)/.studio
	@$(INSTALL) -e '.[dev]'
	@touch $@
