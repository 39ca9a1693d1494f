"""Everything of a run that must survive: LangGraph checkpoints, ledger, approvals, leases, trace; one SQLite file."""

if __name__ == "checkpoints":
    raise ImportError("import agent_graph.checkpoints; the folder 'checkpoints' at the root of the project is only a link to it")
