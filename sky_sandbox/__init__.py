"""The clouds, emulated on loopback, to try pipelines, failovers and preemptions before spending a cent."""
