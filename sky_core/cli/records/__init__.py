"""Commands about what the store has on record: jobs, what they have cost, why one was where it was."""
