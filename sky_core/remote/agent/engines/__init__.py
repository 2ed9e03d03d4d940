"""The engines that make one computer of a gang's machines, each started by its own launcher.

What a task may say of them is in ``sky_core.spec.engine``. Nothing here schedules work inside a cluster.
"""
