#!/usr/bin/env python3
"""Packs a wheel: the package's files, the library, and what pyproject.toml says.

tools/wheel.py PYTHON_FOLDER VERSION LIBRARY OUT_FOLDER. The same files give the same bytes.
"""
import base64
import hashlib
import os
import sys
import tomllib
import zipfile
from pathlib import Path


def metadata(project: dict, version: str, readme: str) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {version}",
             f"Summary: {project['description']}", f"License: {project['license']}",
             f"Requires-Python: {project['requires-python']}"]
    lines += [f"Classifier: {c}" for c in project["classifiers"]]
    for extra, needs in project["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {need}; extra == "{extra}"' for need in needs]
    return "\n".join(lines + ["Description-Content-Type: text/markdown", "", readme])


def main() -> None:
    folder, version, library, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    with open(folder / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    info = f"halftone-{version}.dist-info"
    files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "halftone").rglob("*"))
             if p.suffix in (".py", ".pyi") or p.name == "py.typed"}
    files["halftone/libhalftone.so"] = library.read_bytes()
    # linux_ here: auditwheel says which systems it runs on, and renames it
    files[f"{info}/WHEEL"] = (f"Wheel-Version: 1.0\nGenerator: halftone\nRoot-Is-Purelib: false\n"
                              f"Tag: py3-none-linux_{os.uname().machine}\n").encode()
    files[f"{info}/METADATA"] = metadata(project, version, (folder.parent / "doc/python.md").read_text()).encode()
    files[f"{info}/LICENSE"] = (folder.parent / "LICENSE").read_bytes()
    record = "".join(f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},"
                     f"{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out / f"halftone-{version}-py3-none-linux_{os.uname().machine}.whl", "w") as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if name.endswith(".so") else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(entry, data)


if __name__ == "__main__":
    main()
