"""What every benchmark in Python begins with: a line that names the machine, and with --json FILE its rows as JSON, in the
form of bench/common/report.h. Importing takes "--json FILE" out of the arguments.

    machine.begin("speed")
    machine.row(file=name, tokens_s=12.5)
"""
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def taken():
    if "--json" not in sys.argv:
        return None
    at = sys.argv.index("--json")
    if at + 1 == len(sys.argv):
        sys.exit("--json: the file is missing")
    _, path = sys.argv[at], sys.argv[at + 1]
    del sys.argv[at:at + 2]
    return path


path, report = taken(), None


def build_folder():
    """Where the program or library that is measured was built."""
    for name in ("HT_BUILD", "HT_LIB", "HT_CLI"):
        if at := os.environ.get(name):
            folder = at if name == "HT_BUILD" else os.path.dirname(os.path.abspath(at))
            if os.path.exists(os.path.join(folder, "build.ninja")):
                return folder
    return os.path.join(ROOT, "build")


def written():
    if path:
        with open(path + ".new", "w") as file:
            json.dump(report, file, indent=2)
            file.write("\n")
        os.replace(path + ".new", path)


def begin(name):
    global report
    folder = build_folder()
    subprocess.run(["ninja", "-C", folder, "bench/bench_read"], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "machine.json")
        line = subprocess.run([os.path.join(folder, "bench", "bench_read"), "--machine", "--json", out], check=True,
                              capture_output=True, text=True).stdout
        with open(out) as file:
            report = {"bench": name, "machine": json.load(file)["machine"], "rows": []}
    print(line, end="", flush=True)
    written()


def row(**values):
    report["rows"].append(values)
    written()
