"""Bundled blueprints, the tools they use, and their data."""
