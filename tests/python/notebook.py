#!/usr/bin/env python3
"""Executes a notebook in a kernel of this interpreter, and checks what comes out of it.

    notebook.py NOTEBOOK [--write]      --write: keeps the outputs in it
"""
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

path = Path(sys.argv[1])
notebook = nbformat.read(path, as_version=4)
cells = [c for c in notebook.cells if c.cell_type == "code"]


def kinds():
    return [sorted({kind for o in c.outputs for kind in o.get("data", {o.output_type: 0})}) for c in cells]


before = kinds()
assert "--write" in sys.argv or all(c.execution_count for c in cells), "it is kept without its outputs"
NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": "."}}).execute()
assert any("image/png" in k for k in kinds()), "there is no plot"
if "--write" in sys.argv:
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    nbformat.write(notebook, path)
else:
    assert kinds() == before, f"other outputs than those that are kept: {kinds()}, {before}"
print(f"{path.name}: {len(cells)} cells")
