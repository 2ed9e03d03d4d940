"""Small flows that must come to the same under Prefect's own thread pool and under Skyloom's runner."""
