"""Calls travel whole: references become inputs, local modules go along, nothing else is needed over there."""

import io
import pickle
import subprocess
import sys
import textwrap

import pytest

from sky_core import Artifact
from sky_core.broker.calls import Reference, pack
from sky_core.remote.agent import call

MODEL = Reference("job-1", Artifact(uri="s3://b/model", size_gb=0.1, location="aws/us-east-1"))
IMAGES = Reference("job-2", Artifact(uri="gs://b/images"))


def unpack(payload, values):
    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid):
            return values[pid[1]]

    return Unpickler(io.BytesIO(call.unpack("call", payload))).load()


def test_references_become_inputs_however_deep_and_once_each():
    payload, inputs = pack(len, [MODEL, {"x": [IMAGES, MODEL]}], {"k": (IMAGES,)})
    assert inputs == {"arg_0": MODEL.artifact, "arg_1": IMAGES.artifact}
    _, args, kwargs = unpack(payload, {"arg_0": "the model", "arg_1": "the images"})
    assert args == ("the model", {"x": ["the images", "the model"]})
    assert kwargs == {"k": ("the images",)}


@pytest.mark.parametrize("value", [3, "text", [1, 2], {"a": (1,)}])
def test_plain_arguments_stay_as_they_are(value):
    payload, inputs = pack(repr, [value], {})
    assert inputs == {}
    function, args, _ = unpack(payload, {})
    assert function(*args) == repr(value)


def test_a_module_beside_the_flow_travels_by_value(tmp_path):
    (tmp_path / "beside.py").write_text("from deeper import two\ndef four():\n    return 2 * two()\n")
    (tmp_path / "deeper.py").write_text("def two():\n    return 2\n")
    program = textwrap.dedent("""
        import sys; sys.path.insert(0, sys.argv[1])
        import beside
        from sky_core.broker.calls import pack
        open(sys.argv[2], "wb").write(pack(beside.four, (), {})[0])
    """)
    target = tmp_path / "call.pkl"
    subprocess.run([sys.executable, "-c", program, str(tmp_path), str(target)], check=True)
    reader = textwrap.dedent("""
        import pickle, sys
        with open(sys.argv[1], "rb") as file:
            file.readline()
            print(pickle.load(file)[0]())
    """)
    done = subprocess.run([sys.executable, "-c", reader, str(target)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "4"
