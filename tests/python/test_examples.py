"""The scripts of examples/python, as somebody runs them."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(os.environ["HT_SOURCE"]) / "examples/python"
# What each needs besides the package, arguments behind the model and the folder, and words that it prints
NEEDS = {"bare": set(), "numpy": {"numpy"}, "torch": {"numpy", "torch"}}
SCRIPTS = {
    "quantize": (set(), ["FOLDER"], ("Q4_K_M", "bits a weight", "divergence 0.0")),
    "generate": (set(), ["Once upon a time"], ("Once upon a time", "[60 tokens", "ended by length")),
    "tensors": ({"numpy"}, [], ("llama, 8 layers, 75 tensors", "gptq:bits=3", "relative error 0.0")),
    "layers": ({"torch"}, ["FOLDER"], ("0.157 of the float32", "disk_hits=8")),
    "larger_than_memory": ({"torch"}, ["FOLDER"], ("Once upon a time", "q_proj", "misses=10")),
}


def test_all_are_run():
    assert {p.stem for p in EXAMPLES.glob("*.py")} == set(SCRIPTS) and len(list(EXAMPLES.glob("*.ipynb"))) == 1


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name, model, tmp_path):
    needs, arguments, words = SCRIPTS[name]
    if not needs <= NEEDS[os.environ["HT_WITH"]]:
        with pytest.raises(ImportError):  # this environment is one without what it needs
            for package in needs:
                __import__(package)
        return
    command = [sys.executable, EXAMPLES / f"{name}.py", model, *(a.replace("FOLDER", str(tmp_path / "out")) for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in words), done.stdout
