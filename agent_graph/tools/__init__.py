"""Tools: ``@tool``, the registry, the LangChain adapter, and one family of ready tools per file."""

if __name__ == "tools":
    raise ImportError("import agent_graph.tools; the folder 'tools' at the root of the project is only a link to it")
