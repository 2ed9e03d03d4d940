"""Runs a pickled Python call as a job. Needs Python of the caller's minor version; cloudpickle comes along.

A *packed* file is one line ``skyloom-pickle <what> <major.minor>`` and pickles (:mod:`.packing`). The call's file holds
the files that came along, by their places (:mod:`.files`), and in a second pickle ``(function, args, kwargs)``, in
which references to inputs stand as persistent ids (:mod:`.running`). The result's file holds ``("value", value)`` (of a
generator, the list of what it gave), ``("error", …)`` for an exception with those that led to it (:mod:`.raised`) or,
where the value cannot be pickled, ``("failure", text)``.
"""

from .answers import RAISED as RAISED
from .answers import RESULT as RESULT
from .answers import Answer as Answer
from .answers import answer_of as answer_of
from .answers import load as load
from .answers import packed as packed
from .answers import value_of as value_of
from .files import FOLDER as FOLDER
from .packing import MAGIC as MAGIC
from .packing import WrongPython as WrongPython
from .packing import pack as pack
from .packing import python_of as python_of
from .packing import unpack as unpack
from .raised import RemoteError as RemoteError
from .running import INPUT as INPUT
from .running import RICHER as RICHER
from .running import CallUnpickler as CallUnpickler
from .running import loaded as loaded
from .running import main as main
