"""What a machine can ask of the cloud that it belongs to: a module for each cloud, told by ``CloudFacts.on_machine``.

A module is one file that runs alone, by the standard library of Python 3.7 or later. It comes to the machine twice,
named after the cloud in the agent's zip file and as ``machine.py`` in the user data, and has

* ``notices()``, an iterator that yields at each look None, or when the cloud takes the machine back (seconds since the
  epoch by this machine's clock, which may differ from its cloud's); it may block, and raise OSError, ValueError or
  KeyError where the service does not answer or answers oddly;
* ``end_bill()``, only where to power off does not end the bill: asks the cloud to end this machine and returns what was
  done, with the same errors.
"""
