"""Beside the windows: tasks that share machines, and what the last run tells of what is to come."""
