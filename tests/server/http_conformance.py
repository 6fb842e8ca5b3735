#!/usr/bin/env python3
"""
The corpus of http_cases.py against a server, many connections at a time.

    http_conformance.py ECHO                  every case, against a server of its own
    http_conformance.py --serve HALFTONE      the general ones, against `halftone serve`
    http_conformance.py --at HOST:PORT PATH   the same, against a server that answers GET PATH with 200
    ... --only WORD                           those with WORD in the name
    ... --patient                             the server of its own waits longer, for a slow machine
"""
import json
import socket
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import http_cases as cases
from wire import WAIT, Broken, Server, Wire

ECHO_OPTIONS = ["header=1", "body=1", "idle=2", "max_body=65536", "tick=5"]
PATIENT = ["header=5", "body=5", "idle=10", "max_body=65536", "tick=5"]  # where a second is too short for the client


class Failed(Exception):
    pass


def play(wire, steps, replace):
    """Sends what there is to send. Returns the interim answers that were waited for."""
    interim = []
    for step in steps:
        if isinstance(step, bytes):
            if not wire.send(replace(step)):
                break
        elif isinstance(step, tuple):
            for byte in replace(step[0]):
                wire.send(bytes([byte]))
                time.sleep(0.001)
        elif isinstance(step, float):
            time.sleep(step)
        elif step == cases.FIN:
            wire.half_close()
        elif step == cases.RST:
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.close()
        else:
            interim.append(str(wire.answer().status))
    return interim


def expect_answers(wire, got, wanted, head_only):
    last = None
    for status in wanted[len(got):]:
        last = wire.answer(head_only)
        got.append(str(last.status) if last else "closed")
        if got[-1] != status:
            raise Failed(f"got {' '.join(got)}")
    return last


def expect_end(wire, end, probe):
    if end == "closed" and not wire.is_closed():
        raise Failed(f"not closed: {wire.data[:100]!r}")
    if end == "open":
        if not wire.send(probe):
            raise Failed("closed")
        answer = wire.answer()
        if not answer or answer.status != 200:
            raise Failed(f"the next request got {answer.status if answer else 'nothing'}: {answer and answer.body[:100]}")


def run(case, connect, replace):
    name, steps, outcome, check = case
    wire = connect()
    head_only = any(isinstance(s, bytes) and s.startswith(b"HEAD ") for s in steps[:1])
    try:
        got = play(wire, steps, replace)
        if outcome == "":
            return
        if outcome == "cut":
            try:
                wire.answer()
            except Broken:
                return
            raise Failed("not cut")
        *wanted, end = outcome.split()
        last = expect_answers(wire, got, wanted, head_only)
        expect_end(wire, end, replace(cases.get(cases.G)))
        if isinstance(check, str) and check.encode("utf-8") not in last.body:
            raise Failed(f"no {check!r} in {last.body[:300]!r}")
        if callable(check) and not check(last):
            raise Failed(f"wrong answer: {last.status} {last.headers} {last.body[:100]!r}")
    finally:
        wire.close()


def run_all(corpus, connect, replace):
    def one(case):
        try:
            run(case, connect, replace)
        except (Failed, Broken, TimeoutError, OSError, ValueError) as e:
            return f"{case[0]}: wanted {case[2]!r}: {e}"
        return None

    slow_first = sorted(corpus, key=lambda c: not c[0].startswith("slow"))
    with ThreadPoolExecutor(48) as pool:
        return [f for f in pool.map(one, slow_first) if f]


def probe_past_streams(program):
    """With every connection an event stream, the service still tells how it is. Returns what is wrong."""
    faults = []
    with tempfile.TemporaryDirectory() as data:
        process = subprocess.Popen([program, "serve", "--port", "0", "--data", data, "--connections", "16"], stdout=subprocess.PIPE)
        try:
            address = ("127.0.0.1", json.loads(process.stdout.readline())["port"])
            streams = [Wire(address) for _ in range(16)]
            for wire in streams:
                wire.send(cases.get(b"/api/v1/events"))
                if wire.until(b"\r\n\r\n") is None:
                    faults.append("a stream did not begin")
            for path, wanted in ((b"/healthz", 200), (b"/readyz", 200), (b"/api/v1/quantize/jobs", 503)) * 5:
                wire = Wire(address)
                wire.send(cases.get(path))
                answer = wire.answer()
                if not answer or answer.status != wanted:
                    faults.append(f"with every connection a stream {path.decode()} got {answer and answer.status}")
                wire.close()
            process.terminate()
            process.communicate(timeout=WAIT)
        finally:
            process.kill()
    return faults


def run_service(program, word):
    """The service as people start it; it must also end as they end it."""
    with tempfile.TemporaryDirectory() as data:
        process = subprocess.Popen([program, "serve", "--port", "0", "--data", data], stdout=subprocess.PIPE)
        try:
            started = json.loads(process.stdout.readline())
            connect = lambda: Wire(("127.0.0.1", started["port"]))
            corpus = [c for c in cases.GENERAL if word in c[0]]
            failures = run_all(corpus, connect, lambda b: b.replace(cases.G, b"/healthz")) + probe_past_streams(program)
            process.terminate()
            process.communicate(timeout=WAIT)
        finally:
            process.kill()
    if process.returncode != 0:
        failures.append(f"the service ended with {process.returncode}")
    return corpus, failures


def run_server(argv, word, options):
    server = None
    if argv[0] == "--at":
        host, port = argv[1].rsplit(":", 1)
        address, path, corpus = (host, int(port)), argv[2].encode(), cases.GENERAL
    else:
        server = Server([argv[0], *options])
        address, path, corpus = server.address, b"/hello", cases.GENERAL + cases.ECHO
    corpus = [c for c in corpus if word in c[0]]
    failures = run_all(corpus, lambda: Wire(address), lambda b: b.replace(cases.G, path))
    if server:
        code, out = server.stop()
        if code != 0:
            failures.append(f"the server ended with {code}")
        if not out.startswith("begun"):
            failures.append(f"the server's last words: {out!r}")
    return corpus, failures


def main(argv):
    word = argv.pop(argv.index("--only") + 1) if "--only" in argv else ""
    options = PATIENT if "--patient" in argv else ECHO_OPTIONS
    argv = [a for a in argv if a not in ("--only", "--patient")]
    start = time.monotonic()
    corpus, failures = run_service(argv[1], word) if argv[0] == "--serve" else run_server(argv, word, options)
    for failure in failures:
        print("FAILED", failure)
    print(f"{len(corpus)} cases, {len(failures)} failed, {time.monotonic() - start:.1f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
