"""A cluster for whoever asks: machines with an engine on them that a program elsewhere works with.

It is a job whose command stays until it is told to end. What leads to it is a process of its own
(:mod:`sky_core.tunnel`).
"""
