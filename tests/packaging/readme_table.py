#!/usr/bin/env python3
"""README's table of formats against the program: every scheme that can be written is there, with its bits, its measured loss,
the programs that load it, and tests that exist and are about it.

    readme_table.py SOURCE_FOLDER PROGRAM
"""
import json
import pathlib
import re
import subprocess
import sys

root, program = pathlib.Path(sys.argv[1]), sys.argv[2]
failures = 0


def fail(text):
    global failures
    failures += 1
    print("FAILED", text)


def run(*arguments):
    return json.loads(subprocess.run([program, *arguments, "--json"], check=True, capture_output=True, text=True).stdout)


def rows():
    """The cells of each row of the table that begins with `| type | bits |`."""
    lines = (root / "README.md").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("| type | bits |"))
    for line in lines[at + 2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def facts(types):
    """Of each type: bits of its packed matrices, and its measured loss."""
    model = str(root / "examples/model")
    loss = {t["type"]: t["measured"]["divergence"] for t in run("recommend", model, "--for", "vllm", "--memory", "1T")["types"]}
    found = {}
    for output in run("estimate", model, "-t", ",".join(types))["outputs"]:
        packed = [t for t in output["tensors"] if "scheme" in t]
        bits = sum(t["bytes"] for t in packed) * 8 / sum(t["shape"][0] * t["shape"][1] for t in packed)
        found[output["type"]] = f"{bits:.2f}", loss.get(output["type"])
    return found


def numbers(cell):
    return re.split(r",\s*", cell)


def check_row(cells, types, known, loaders):
    names = {t.split(":")[0] for t in types}
    bits, losses = numbers(cells[1]), numbers(cells[2])
    if not len(types) == len(bits) == len(losses):
        return fail(f"{cells[0]}: {len(types)} types, {len(bits)} figures of bits, {len(losses)} of loss")
    for t, b, l in zip(types, bits, losses):
        if b != known[t][0]:
            fail(f"{t}: {b} bits, but its matrices have {known[t][0]}")
        if known[t][1] is None:
            fail(f"{t}: its loss was not measured (src/recipe/quality.def)")
            continue
        digits = len(l.lstrip("."))
        if l != f"{known[t][1]:.{digits}f}".lstrip("0") or not float(l):
            fail(f"{t}: a loss of {l}, but {known[t][1]} was measured")
    for name in names:
        if cells[3] != loaders[name]:
            fail(f"{name}: loaded by \"{cells[3]}\", but the program says \"{loaders[name]}\"")
    return None


def check_tests(cells, names):
    tests = re.findall(r"`(\w+)`", cells[4])
    if not tests:
        fail(f"{cells[0]}: proved by no test")
    about = ""
    for test in tests:
        file = root / "tests/parity" / f"{test}.py"
        if not file.is_file():
            fail(f"{cells[0]}: there is no test {test}")
            continue
        text = file.read_text()
        about += text
        if names and not any(re.search(rf"[\"' ,]{re.escape(n)}[\"':, ]", text) for n in names):
            fail(f"{cells[0]}: {test} is not about it")
    for name in names:
        if not re.search(rf"[\"' ,]{re.escape(name)}[\"':, ]", about):
            fail(f"{name}: none of its tests is about it")


def main():
    schemes = {s["name"]: s for s in run("types")["schemes"]}
    loaders = {name: s["loaders"].split(";")[0] for name, s in schemes.items()}
    table = [(cells, [t for t in re.findall(r"`([^`]+)`", cells[0]) if t.split(":")[0] in schemes]) for cells in rows()]
    listed = {t.split(":")[0] for _, types in table for t in types}
    for name in schemes.keys() - listed:
        fail(f"the table lacks {name}")
    for cells, types in table:
        for word in re.findall(r"`([^`/]+)`", cells[0]):
            if word not in types:
                fail(f"the table has {word}, which is no scheme that can be written")
    known = facts([t for _, types in table for t in types])
    for cells, types in table:
        if len(cells) != 5:
            fail(f"{cells[0]}: {len(cells)} cells")
            continue
        if types:
            check_row(cells, types, known, loaders)
        check_tests(cells, {t.split(":")[0] for t in types})
    sys.exit(1 if failures else 0)


main()
