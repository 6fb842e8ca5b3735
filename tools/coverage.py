#!/usr/bin/env python3
"""
How much of the parsers their tests run through: builds with gcc's counters in build-cov, runs the parsers' tests and the
fuzzers' stored inputs, and prints a table, a line a file.

    tools/coverage.py [--at-least PERCENT] [--no-run] [--missed FILE]

With --at-least, status 1 when a parser is below. With --missed, the lines of one file that nothing ran.
"""
import argparse
import collections
import glob
import json
import os
import subprocess
import sys

BUILD = "build-cov"
SHOWN = ("src/base/", "src/formats/", "src/model/", "src/net/http_parse.c", "src/net/http_fields.c", "src/net/http_target.c",
         "src/net/http_range.c", "src/hub/headers.c", "apps/service/settings/yaml.c")
NOT_PARSERS = ("src/base/alloc.c", "src/base/clock.h", "src/base/hash.c", "src/base/lock.c", "src/base/log.c", "src/base/pool.c")
UNIT = """arena buf card chat convert cursor err escape file gguf_read http_parts hub imatrix importance json map model_name nearest pytorch
          recipe rows safetensors service_parts sum text text_edges tokenizer tokenizer_spm tokenizer_files pre_tokenizer trie utf8""".split()
OTHERS = ["test_hostile_files", "test_hostile_folders", "test_hostile_models", "test_hostile_tokenizer", "test_amplification"]


def run(*argv, **kw):
    return subprocess.run(argv, check=True, **kw)


def build_and_run(jobs):
    fuzzers = [os.path.basename(path)[:-2] + "_replay" for path in sorted(glob.glob("tests/fuzz/fuzz_*.c"))]
    tests = ["test_" + name for name in UNIT] + OTHERS + fuzzers
    if not os.path.exists(BUILD + "/build.ninja"):
        run("meson", "setup", BUILD, "-Dbuildtype=debug", "-Db_coverage=true", stdout=subprocess.DEVNULL)
    run("ninja", "-C", BUILD, "-j", str(jobs), *["tests/" + name for name in tests], stdout=subprocess.DEVNULL)
    for counters in glob.glob(BUILD + "/**/*.gcda", recursive=True):
        os.remove(counters)
    # A failing test is shown, and the table too.
    return subprocess.run(["meson", "test", "-C", BUILD, "--no-rebuild", "--print-errorlogs", "-t", "10", "-q",
                           "--num-processes", str(jobs), *tests], check=False).returncode


def counts():
    """{file: {line: times}}, with what several objects ran of one header put together."""
    files = collections.defaultdict(dict)
    objects = sorted(glob.glob(BUILD + "/libhalftone_*.a.p/*.gcda"))
    for at in range(0, len(objects), 50):
        names = [os.path.relpath(path, BUILD) for path in objects[at:at + 50]]
        text = run("gcov", "--json-format", "--stdout", *names, cwd=BUILD, capture_output=True, text=True).stdout
        for line in filter(None, text.splitlines()):
            for file in json.loads(line)["files"]:
                path = os.path.relpath(os.path.join(BUILD, file["file"]))
                if path.startswith(SHOWN):
                    seen = files[path]
                    for row in file["lines"]:
                        seen[row["line_number"]] = max(seen.get(row["line_number"], 0), row["count"])
    return files


def table(files, least):
    below, total, hit = [], 0, 0
    print(f"{'file':44} {'lines':>6} {'run':>6} {'%':>6}")
    for path, lines in sorted(files.items()):
        n, ran = len(lines), sum(1 for count in lines.values() if count)
        total, hit = total + n, hit + ran
        print(f"{path:44} {n:6} {ran:6} {100 * ran / n:6.1f}")
        if 100 * ran < least * n and path not in NOT_PARSERS:
            below.append(path)
    print(f"{'total':44} {total:6} {hit:6} {100 * hit / max(total, 1):6.1f}")
    return below


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    parser = argparse.ArgumentParser()
    parser.add_argument("--at-least", type=float, default=0)
    parser.add_argument("--no-run", action="store_true")
    parser.add_argument("--missed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    o = parser.parse_args()
    failed = 0 if o.no_run else build_and_run(o.jobs)
    files = counts()
    if o.missed:
        print("\n".join(f"{o.missed}:{line}" for line, count in sorted(files[o.missed].items()) if not count))
        return 0
    below = table(files, o.at_least)
    for path in below:
        print(f"{path}: below {o.at_least:g} %")
    return 1 if failed or below else 0


if __name__ == "__main__":
    sys.exit(main())
