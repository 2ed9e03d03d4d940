"""Python calls that travel: a function and its arguments, pickled so that a machine with only Python and cloudpickle
can make the call, with references to other tasks' results in place of their values.

Local code (:mod:`.local`) goes along by value (:mod:`.by_value`), what it imports only while it runs as files
(:mod:`.beside`), and so does what it reads beside itself (:mod:`.files`).
"""

from .packing import RESULT as RESULT
from .packing import Reference as Reference
from .packing import pack as pack
