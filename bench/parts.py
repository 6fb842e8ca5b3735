#!/usr/bin/env python3
"""How evenly a run divides into parts: what 8 workers gain, from processor seconds, so that a loaded machine does not matter.

    parts.py HALFTONE MODEL [-t TYPES] [--parts N] [--rounds N] [--json FILE] [-- OPTIONS OF QUANTIZE]

Makes the whole, then each part, on one thread each, several times (the least counts), and prints each part's processor
seconds, their sum over the longest one, and the same without what every run begins with (of a ten-thousandth part), which
hides the difference of small models. Files are compared with the whole's.
"""
import argparse
import filecmp
import os
import resource
import subprocess
import sys
import tempfile

import machine


def seconds(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    ask = argparse.ArgumentParser()
    ask.add_argument("halftone")
    ask.add_argument("model")
    ask.add_argument("-t", default="Q4_K_M")
    ask.add_argument("--parts", type=int, default=8)
    ask.add_argument("--rounds", type=int, default=3)
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    told, options = ask.parse_args(sys.argv[1:at]), sys.argv[at + 1:]
    machine.begin("parts")
    with tempfile.TemporaryDirectory() as work:
        run = [told.halftone, "quantize", told.model, "-t", told.t, "--threads", "1", "--quiet", "--overwrite", "--name", "m", *options, "-o"]
        whole = min(seconds(run + [f"{work}/whole"]) for _ in range(told.rounds))
        start = min(seconds(run + [f"{work}/none", "--part", "10000/10000"]) for _ in range(told.rounds))
        each, takes = [], []
        for i in range(1, told.parts + 1):
            part = run + [f"{work}/{i}", "--part", f"{i}/{told.parts}"]
            each.append(min(seconds(part) for _ in range(told.rounds)))
            takes += ["--take-from", f"{work}/{i}"]
        assembled = seconds(run + [f"{work}/all"] + takes)
        names = sorted(os.listdir(f"{work}/whole"))
        files = [n for n in names if os.path.isfile(f"{work}/whole/{n}")]
        same = filecmp.cmpfiles(f"{work}/whole", f"{work}/all", files, shallow=False)[0] == files
    name = os.path.basename(os.path.normpath(told.model))
    gain, alone = sum(each) / max(each), sum(s - start for s in each) / (max(each) - start)
    print(f"{name}, {' '.join([told.t, *options])}: whole {whole:.2f} s, start {start:.3f} s; parts {' '.join(f'{s:.3f}' for s in each)}; "
          f"sum / longest {gain:.2f}, without the start {alone:.2f}; put together in {assembled:.2f} s; {'same bytes' if same else 'BYTES DIFFER'}")
    machine.row(model=name, types=told.t, options=options, whole_s=whole, start_s=start, parts_s=each, gain=gain, gain_without_start=alone,
                assembled_s=assembled, same=same)


if __name__ == "__main__":
    main()
