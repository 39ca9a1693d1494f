"""The seven nodes of the graph, one per file, and the routes between them."""

if __name__ == "nodes":
    raise ImportError("import agent_graph.nodes; the folder 'nodes' at the root of the project is only a link to it")
