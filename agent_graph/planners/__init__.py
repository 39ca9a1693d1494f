"""Who decides intent: blueprints (no key needed), plans made in code, and chat models."""
