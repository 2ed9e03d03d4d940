"""Telling others what happens to jobs: webhooks, and traces of a job's life. Nothing waits for them."""
