"""What runs on the machine: standard library only, Python 3.9 or newer, sent as one zip file.

The driver packs this folder into ``agent.pyz`` (:mod:`sky_core.remote.bundle`), copies it over SSH and calls it:
``start`` reads a job description on stdin and leaves a supervisor behind, ``poll`` tells the job's state and the
new part of its log and renews the lease, ``cancel`` ends the job. Modules import each other relatively, since
on the machine they are not called ``sky_core``.

:mod:`.data.transfer` alone needs more (obstore; fsspec for what that cannot open) and runs in a process of its own,
under a Python that has it. :mod:`.data` and :mod:`.call` serve the driver too.
"""
