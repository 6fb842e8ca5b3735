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


def test_library_of_another_version(tmp_path):
    """The very library, but for the number that it says."""
    data = Path(os.environ.get("HALFTONE_LIBRARY") or Path(halftone.__file__).parent / "libhalftone.so").read_bytes()
    own = halftone.__version__.encode() + b"\0"
    assert own in data
    (tmp_path / "libhalftone.so").write_bytes(data.replace(own, b"9" + own[1:]))
    package = Path(halftone.__file__).parent  # what the library needs lies there, or where auditwheel has put it
    folders = os.pathsep.join(map(str, (package, package.with_name("halftone.libs"))))
    done = run("import halftone", HALFTONE_LIBRARY=str(tmp_path / "libhalftone.so"), LD_LIBRARY_PATH=folders)
    assert "LibraryError" in done.stderr and f"the package of {halftone.__version__}" in done.stderr, done.stderr


def test_half_a_library(tmp_path):
    library = Path(os.environ.get("HALFTONE_LIBRARY") or Path(halftone.__file__).parent / "libhalftone.so")
    data = library.read_bytes()
    for size in (0, 10, 100, 5000, len(data) // 2, len(data) - 100):
        (tmp_path / "libhalftone.so").write_bytes(data[:size])
        done = run("import halftone", HALFTONE_LIBRARY=str(tmp_path / "libhalftone.so"), LD_PRELOAD="")
        assert done.returncode == 1 and "LibraryError" in done.stderr and "cannot be loaded" in done.stderr


@pytest.mark.skipif("asan" in os.environ.get("HALFTONE_LIBRARY", ""), reason="a library under a sanitizer is slow")
def test_import_takes_little_time():
    """Less than 50 ms of processor time, the least of ten."""
    code = "import time; t = time.process_time(); import halftone; print(time.process_time() - t)"
    assert min(float(run(code).stdout) for _ in range(10)) < 0.05


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
