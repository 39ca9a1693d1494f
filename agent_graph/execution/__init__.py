"""Enforcing reality: the dataflow scheduler and the pipeline that every step passes."""
