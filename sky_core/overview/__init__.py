"""All jobs and runs of a store at one glance: what ``skyloom jobs`` and ``top`` and the pages of ``ui`` show."""
