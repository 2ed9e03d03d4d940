"""Gangs that go on although a machine of theirs is lost."""
