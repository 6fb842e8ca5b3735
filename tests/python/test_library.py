"""Loading the package: what is missing or of another version is told, and nothing heavy comes along."""
import os
import pickle
import subprocess
import sys
from pathlib import Path

import halftone
import pytest


def run(code, **env):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env})


def test_missing_library():
    for library, message in (("/nowhere/libhalftone.so", "cannot be loaded"), (__file__, "cannot be loaded")):
        done = run("import halftone", HALFTONE_LIBRARY=library, LD_PRELOAD="")
        assert "LibraryError" in done.stderr and message in done.stderr and library in done.stderr


def test_other_library():
    """A library that is not Halftone's."""
    done = run("import halftone", HALFTONE_LIBRARY="libz.so.1" if Path("/lib/x86_64-linux-gnu/libz.so.1").exists() else "libm.so.6", LD_PRELOAD="")
    assert "LibraryError" in done.stderr and "another version" in done.stderr


def test_import_is_light():
    code = "import sys, halftone; print(sorted({'torch', 'numpy', 'tqdm', 'dataclasses', 'json'} & set(sys.modules)))"
    before = "import sys; print(sorted({'torch', 'numpy', 'tqdm', 'dataclasses', 'json'} & set(sys.modules)))"
    assert run(code).stdout == run(before).stdout


def test_names():
    for name in halftone.__all__:
        assert getattr(halftone, name) is not None
    with pytest.raises(AttributeError):
        halftone.nothing
    assert set(halftone.__all__) <= set(dir(halftone))


def test_lists():
    assert {"q4_k", "q8_0"} <= {t.name for t in halftone.types()}
    assert {"nf4", "gptq", "awq"} <= {s.name for s in halftone.schemes()}
    assert {"Q4_K_M"} <= {m.name for m in halftone.mixes()} and halftone.methods()
    assert {"gguf", "safetensors", "pytorch"} <= {c.name for c in halftone.containers()}
    assert "llama" in {a.name for a in halftone.architectures()} and halftone.gpus() and halftone.options()


def test_errors_travel():
    """Between processes, as multiprocessing sends them."""
    for kind in halftone.errors.by_code.values():
        error = pickle.loads(pickle.dumps(kind("what", "where", 5)))
        assert (type(error), error.message, error.where, error.offset) == (kind, "what", "where", 5)
        assert str(error) == "where: what (at byte 5)"
