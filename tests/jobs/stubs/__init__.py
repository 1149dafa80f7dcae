"""A small app with operations that misbehave on purpose."""
