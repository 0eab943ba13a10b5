"""The planner, without an Engine."""
