"""Warm machines: kept when their job is over, for the next one that they do for.

    launched by job A ── A is over ──> kept ── taken by job B ──> B's cluster
                                        └── its time is over, told to, gone ──> ended

A cluster that is kept belongs to a job that is over: no lease guards it, and its changes are single statements of the
store that expect it as it was (:mod:`sky_core.store.kept`). What each of them rests on:

- **Kept** (:mod:`.parking`). The name and the end of the keeping are on record first. Then the machine is told: it
  removes what the job had there, and from then on ends itself when that time is over, whoever is there to see it.
  Only when it has said so is the job over, and the cluster kept. A driver that dies in between is replaced by one that
  does the same again; a machine that does not answer is ended as ever.
- **Taken** (:mod:`.taking`). One transaction ends what the cluster was to A and makes it B's, with nothing asked of
  any cloud: of two jobs one has it, and the other launches. That the machine is there is found out as after any launch;
  if it is not, B goes on as after any loss.
- **Ended** (:mod:`.keeper`). A thread of any driver of the store orders the end, written down before, and looks until
  the cloud says that nothing is left. Sweeps leave alone what is kept, until its time is over.

A's bill has the time until then, idle time as such; B's begins when it takes the machines.
"""
