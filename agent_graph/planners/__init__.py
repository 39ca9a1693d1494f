"""Who decides intent: blueprints (no key needed) and plans made in code."""
