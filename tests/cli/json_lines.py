#!/usr/bin/env python3
"""Every line that a command prints with --json is a report as doc/report.schema.json describes it, or as
doc/lines.schema.json does; each command that has --json has a form. tests/cli/json_lines.py HALFTONE"""
import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "hub")]
import fake_hub  # noqa: E402
import json_schema  # noqa: E402
import reports  # noqa: E402

PROGRAM = os.path.abspath(sys.argv[1])
ROOT = HERE.parent.parent
MODEL = str(ROOT / "examples" / "model")
SCHEMA = json.loads((ROOT / "doc" / "lines.schema.json").read_text())
CHECKER = json_schema.Checker(SCHEMA)
BY_SERVICE = {"jobs", "registry", "levels", "ollama"}  # held against the service's own description by tests/server; or Ollama's, by ollama.py
REPORTS = {"quantize", "convert", "estimate", "eval", "compare", "imatrix", "calibrate", "inspect", "recommend"}
failures = 0


def fail(text):
    global failures
    failures += 1
    print("FAILED", text)


def run(*arguments, status=0, env=None, text=None):
    done = subprocess.run([PROGRAM, *map(str, arguments), "--json"], capture_output=True, text=True, env=env, input=text)
    if done.returncode != status:
        raise SystemExit(f"FAILED halftone {' '.join(map(str, arguments))}: {done.returncode}, {done.stderr}")
    lines = [reports.parse(line) for line in done.stdout.splitlines()]
    if not lines:
        fail(f"halftone {' '.join(map(str, arguments))} prints nothing")
    return arguments[0], lines


def make_of_files(at):
    text = at / "text"
    text.write_text("Some words of a text that is long enough to measure on.\n" * 40)
    few = ("--text", text, "--ctx", 64, "--chunks", 2)
    yield run("convert", MODEL, "-t", "F16", "-o", at / "f16.gguf")
    yield run("quantize", MODEL, "-t", "Q8_0,nf4", "-o", at / "out")
    yield run("estimate", MODEL, "-t", "Q8_0")
    yield run("imatrix", MODEL, *few, "-o", at / "i.gguf")
    yield run("calibrate", MODEL, "--ctx", 64, "--chunks", 8, "-o", at / "stats")
    yield run("calibrate", "--in-stats", at / "stats")
    yield run("quantize", MODEL, "-t", "Q4_0", "--calibration-stats", at / "stats", "-o", at / "kept")
    yield run("eval", MODEL, *few)
    yield run("compare", at / "f16.gguf", at / "out/model-Q8_0.gguf", *few)
    yield run("inspect", at / "i.gguf")
    yield run("recommend", MODEL, "--memory", "1G")
    yield run("generate", MODEL, "-p", "The machine", "-n", 4)
    yield run("tokenize", MODEL, text=json.dumps(["ab c", ""]))
    yield run("tokenize", MODEL, "--decode", text="[[68, 300], []]")
    for name in "types", "gpus", "archs":
        yield run(name)


def make_of_admin(at):
    subprocess.run([PROGRAM, "serve", "--new-token", "lines", "--scope", "admin", "--data", str(at / "data")], check=True, capture_output=True)
    (at / "data/models/stray-0123").mkdir(parents=True)
    (at / "data/models/stray-0123/a.gguf").write_text("left behind")
    yield run("admin", "check", "--data", at / "data", status=1)
    yield run("admin", "check", "--data", at / "nowhere", status=1)
    yield run("admin", "migrate", "--data", at / "data", status=2)


def make_of_errors(at):
    for name in sorted(REPORTS | {"generate", "tokenize"}):
        more = {"quantize": ("-t", "Q8_0"), "convert": ("-t", "F16"), "estimate": ("-t", "Q8_0"), "imatrix": ("-o", at / "x.gguf"), "calibrate": ("-o", at / "x"),
                "generate": ("-p", "x")}
        yield run(name, at / "nowhere", *more.get(name, ()), status=3)
    (at / "bad.gguf").write_bytes(b"GGUF" + bytes(3))
    yield run("inspect", at / "bad.gguf", status=3)


def make_of_hub(at):
    hub = fake_hub.FakeHub()
    hub.add("org/model", fake_hub.read_folder(pathlib.Path(MODEL)))
    hub.start()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()}
    env |= {"HF_HOME": str(at / "home"), "HF_ENDPOINT": hub.url}
    try:
        yield run("pull", "org/model", env=env)
        yield run("hub", "search", "model", env=env)
        yield run("hub", "info", "org/model", env=env)
        yield run("pull", "org/none", env=env, status=3)
    finally:
        hub.stop()


def make_all():
    with tempfile.TemporaryDirectory(prefix="halftone-lines-") as folder:
        at = pathlib.Path(folder)
        return [*make_of_files(at), *make_of_admin(at), *make_of_errors(at), *make_of_hub(at)]


def commands_with_json():
    """As the program's own help lists them."""
    names = re.findall(r"^  ([a-z]+) ", subprocess.run([PROGRAM, "help"], capture_output=True, text=True, check=True).stdout, re.M)
    for name in names:
        if "--json" in subprocess.run([PROGRAM, "help", name], capture_output=True, text=True, check=True).stdout:
            yield name


def form(line):
    """The one definition that fits, by its name; otherwise what is wrong with the line."""
    names = [ref["$ref"].rsplit("/", 1)[1] for ref in SCHEMA["oneOf"]]
    fits = [name for name in names if not CHECKER.check(line, SCHEMA["$defs"][name], "")[0]]
    return fits[0] if len(fits) == 1 else f"fits {fits or 'nothing'}: {CHECKER.errors(line)[:1]}"


def check(name, lines):
    """Events come first; the last line is the command's own result, or an error."""
    *events, last = lines
    for line in events:
        if form(line) not in ("progress", "text"):
            fail(f"{name}: {json.dumps(line)[:200]} {form(line)}")
    if isinstance(last, dict) and "halftone" in last:
        for error in reports.errors(last):
            fail(f"{name}: {error}")
        got = name if name in REPORTS else "report"
    else:
        got = form(last)
    if got not in (name, "error"):
        fail(f"{name}: {json.dumps(last)[:200]} is not the form of {name}: {got}")
    return got


def without_a_member(value):
    if isinstance(value, dict):
        for key in value:
            yield {k: v for k, v in value.items() if k != key}
        yield value | {"more": 1}
        for key, wrong in ((k, {}) for k in value):
            yield value | {key: wrong}


def check_wrong_ones(every):
    n, seen = 0, set()
    optional = {"size", "sha256", "choices", "least", "most"}
    for _, lines in every:
        for line in lines:
            kind = form(line) if not (isinstance(line, dict) and "halftone" in line) else None
            if kind is None or kind in seen:
                continue
            seen.add(kind)
            for wrong in without_a_member(copy.deepcopy(line)):
                if set(line) - set(wrong) <= optional and set(wrong) <= set(line) and all(wrong[k] == line[k] for k in wrong):
                    continue
                n += 1
                if not CHECKER.errors(wrong):
                    fail(f"{kind}: {json.dumps(wrong)[:200]} is let through")
    missing = {ref["$ref"].rsplit("/", 1)[1] for ref in SCHEMA["oneOf"]} - seen
    if missing:
        fail(f"described, but printed by no command of this test: {sorted(missing)}")
    print(f"{n} wrong lines are refused")


def main():
    every = make_all()
    good = {name for name, lines in every if check(name, lines) != "error"}
    names = list(commands_with_json())
    if not REPORTS | BY_SERVICE <= set(names):
        fail(f"the help does not list what it did: {names}")
    for name in names:
        if name not in good | BY_SERVICE:
            fail(f"{name} --json has no form: describe it in doc/lines.schema.json, and run it here")
    check_wrong_ones(every)
    sys.exit(failures > 0)


main()
