"""A task's function on a machine: sent, waited for, its value brought back."""
