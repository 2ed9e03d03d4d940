"""The laboratory: what benchmarks and tests need to judge spot policies, and what no job of a user ever runs."""
