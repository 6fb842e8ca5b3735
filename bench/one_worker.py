#!/usr/bin/env python3
"""What it costs that a job goes through a service to one worker: seconds, beside those of `halftone quantize` alone, in turn.

    one_worker.py HALFTONE MODEL [-t TYPES] [--rounds N] [--threads N] [--work FOLDER] [--json FILE]

The service only dispatches; the worker sees its data folder, as on a shared disk. A job counts from its submission to its end.
Both read what they have written back and hash it. The least of the rounds counts; the files are compared.
"""
import argparse
import filecmp
import glob
import json
import os
import subprocess
import sys
import tempfile
import time

import machine


def port_of(serve, log):
    """What the first line of the service's log says."""
    while serve.poll() is None:
        with open(log) as lines:
            line = lines.readline()
        if line.endswith("\n"):
            return json.loads(line)["port"]
        time.sleep(0.05)
    sys.exit("the service ended: " + open(log).read())


def begin(told, work):
    data = f"{work}/data"
    token = subprocess.run([told.halftone, "serve", "--data", data, "--new-token", "bench", "--scope", "admin"],
                           check=True, capture_output=True, text=True).stdout.split()
    token = next(w for w in token if w.startswith("ht_"))
    with open(f"{work}/log", "w") as log:
        serve = subprocess.Popen([told.halftone, "serve", "--data", data, "--models", os.path.dirname(told.model), "--port", "0", "--workers", "0"],
                                 stdout=log, stderr=subprocess.STDOUT)
    port = port_of(serve, f"{work}/log")
    env = dict(os.environ, HALFTONE_TOKEN=token, HALFTONE_SERVER=f"http://127.0.0.1:{port}")
    worker = subprocess.Popen([told.halftone, "worker", "--artifacts", f"file://{data}", "--models", os.path.dirname(told.model), "--data", f"{work}/w",
                               "--threads", str(told.threads), "--name", "one"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return serve, worker, env, data


def main():
    ask = argparse.ArgumentParser()
    ask.add_argument("halftone")
    ask.add_argument("model")
    ask.add_argument("-t", default="Q4_K_M")
    ask.add_argument("--rounds", type=int, default=3)
    ask.add_argument("--threads", type=int, default=os.cpu_count())
    ask.add_argument("--work", default=None)
    machine.begin("one_worker")
    told = ask.parse_args()
    told.model = os.path.abspath(told.model)
    alone, through = [], []
    with tempfile.TemporaryDirectory(dir=told.work) as work:
        serve, worker, env, data = begin(told, work)
        try:
            for _ in range(told.rounds):
                start = time.monotonic()
                subprocess.run([told.halftone, "quantize", told.model, "-t", told.t, "-o", f"{work}/alone", "--overwrite", "--quiet",
                                "--threads", str(told.threads)], check=True, stdout=subprocess.DEVNULL)
                alone.append(time.monotonic() - start)
                start = time.monotonic()
                subprocess.run([told.halftone, "jobs", "submit", told.model, "-t", told.t, "--watch"], check=True, env=env, stdout=subprocess.DEVNULL)
                through.append(time.monotonic() - start)
            names = [os.path.basename(p) for p in glob.glob(f"{work}/alone/*.gguf")]
            made = {os.path.basename(p): p for p in glob.glob(f"{data}/models/*/*.gguf")}
            same = bool(names) and all(n in made and filecmp.cmp(f"{work}/alone/{n}", made[n], shallow=False) for n in names)
        finally:
            for p in worker, serve:
                p.terminate()
                p.wait()
    a, t = min(alone), min(through)
    name = os.path.basename(told.model)
    print(f"{name}, {told.t}: alone {a:.2f} s, through a service and a worker {t:.2f} s, {100 * (t / a - 1):+.1f} %; "
          f"{'same bytes' if same else 'BYTES DIFFER'}")
    machine.row(model=name, types=told.t, alone_s=a, through_s=t, same=same)


if __name__ == "__main__":
    main()
