#!/usr/bin/env python3
"""The service as it is run: start to ready, memory at rest, small requests, a thousand listeners while a job runs.

    bench/serve.py [HALFTONE]           HT_SECONDS=5
"""
import http.client
import json
import multiprocessing
import os
import re
import resource
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import machine

PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/halftone")
SECONDS = float(os.environ.get("HT_SECONDS", "5"))
EXAMPLE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "examples", "model")
CONNECTIONS = (64, 128, 192, 256, 512, 1000)


def start(data, *more):
    begun = time.monotonic()
    p = subprocess.Popen([PROGRAM, "serve", "--port", "0", "--data", data, *more], stdout=subprocess.PIPE, text=True)
    port = json.loads(p.stdout.readline())["port"]
    with socket.create_connection(("127.0.0.1", port)) as c:
        c.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert c.recv(100).startswith(b"HTTP/1.1 200 ")
    return p, port, time.monotonic() - begun


def field(pid, name):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(name + ":"))


def cpu(pid):
    with open(f"/proc/{pid}/stat") as f:
        t = f.read().rsplit(")", 1)[1].split()
    return (int(t[11]) + int(t[12])) / os.sysconf("SC_CLK_TCK")


def load(port, path, n_connections, counter):
    """Keep-alive connections, sixteen requests on the way on each; answers are counted by their length."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(n_connections)]
    connections[0].sendall(request)
    first = b""
    while b"\r\n\r\n" not in first:
        first += connections[0].recv(1 << 16)
    head, body = first.split(b"\r\n\r\n", 1)
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(body) < length:
        body += connections[0].recv(1 << 16)
    one = len(head) + 4 + length
    batch, until, done = request * 16, time.monotonic() + SECONDS, 0
    for c in connections:
        c.sendall(batch)
    while time.monotonic() < until:
        for c in connections:
            left = one * 16
            while left > 0:
                left -= len(c.recv(min(left, 1 << 18)))
            c.sendall(batch)
            done += 16
    counter.put(done)


def rate(port, pid, path, n_connections):
    counter, before = multiprocessing.Queue(), cpu(pid)
    client = multiprocessing.Process(target=load, args=(port, path, n_connections, counter))
    client.start()
    n = counter.get()
    client.join()
    used = cpu(pid) - before
    return n / SECONDS, used / n * 1e6 if n else 0


def rates(port, pid, path):
    """The rate must not depend on how many ask: below half of the best at any number is a fault."""
    results = {n: rate(port, pid, path, n) for n in CONNECTIONS}
    best = max(r for r, _ in results.values())
    for n, (r, each) in results.items():
        print(f"GET {path:36} {n:5} connections {r:9.0f} requests/s  {each:6.1f} us of processor each  {r / best:.2f} of the best"
              + ("  BELOW HALF" if r < best / 2 else ""))
        machine.row(path=path, connections=n, requests_s=r, processor_us_each=each)


def listeners(port, pid, n=1000):
    """Each event's way from the first of the listeners that has it to each of the others."""
    poll, buffers, arrivals = select.epoll(), {}, {}
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(n)]
    for c in connections:
        c.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        c.setblocking(False)
        poll.register(c, select.EPOLLIN)
        buffers[c.fileno()] = [c, b""]
    client = http.client.HTTPConnection("127.0.0.1", port)
    until = time.monotonic() + 2
    job = None
    while time.monotonic() < until:
        for fd, _ in poll.poll(0.2):
            c, rest = buffers[fd]
            data = rest + c.recv(1 << 16)
            now = time.monotonic()
            *whole, buffers[fd][1] = data.split(b"\n\n")
            for event in whole:
                if m := re.search(rb"^id: (\d+)", event, re.M):
                    arrivals.setdefault(int(m[1]), []).append(now)
        if job is None and time.monotonic() > until - 1:
            body = {"source_model": EXAMPLE, "gguf_quant_types": ["Q4_K_M", "Q5_K_M", "Q8_0"], "config": {"measure": True}, "options": {"chunks": 4}}
            client.request("POST", "/api/v1/quantize/jobs", json.dumps(body), {"Content-Type": "application/json"})
            job = client.getresponse().read()
            until = time.monotonic() + 2 * SECONDS
    late = sorted((t - min(times)) * 1000 for times in arrivals.values() for t in times)
    whole = sum(len(times) == n for times in arrivals.values())
    print(f"{n} listeners, a job runs: {len(arrivals)} events, {whole} of them at every listener; behind the first listener: "
          f"median {late[len(late) // 2]:.1f} ms, p99 {late[len(late) * 99 // 100]:.1f} ms, last {late[-1]:.1f} ms; "
          f"memory {field(pid, 'VmRSS') / 1024:.1f} MB")
    machine.row(listeners=n, events=len(arrivals), median_ms=late[len(late) // 2], last_ms=late[-1])
    for c in connections:
        c.close()


def main():
    machine.begin("serve")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    data = tempfile.mkdtemp(prefix="halftone-bench-")
    times = []
    for _ in range(9):
        p, port, seconds = start(data)
        times.append(seconds * 1000)
        p.send_signal(signal.SIGTERM)
        p.wait()
    print(f"start to ready: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms")
    machine.row(start_ms=statistics.median(times), worst_start_ms=max(times))
    p, port, _ = start(data, "--models", os.path.dirname(EXAMPLE))
    time.sleep(1)
    print(f"memory at rest: {field(p.pid, 'VmRSS') / 1024:.1f} MB, of it our own {field(p.pid, 'RssAnon') / 1024:.1f} MB, {field(p.pid, 'Threads')} threads")
    for path in ("/healthz", "/api/v1/quantize/jobs", "/api/v1/quantize/formats/gguf/types"):
        rates(port, p.pid, path)
    listeners(port, p.pid)
    print(f"memory after it: {field(p.pid, 'VmRSS') / 1024:.1f} MB")
    begun = time.monotonic()
    p.send_signal(signal.SIGTERM)
    assert p.wait() == 0
    print(f"stopped in {(time.monotonic() - begun) * 1000:.0f} ms")
    shutil.rmtree(data)


if __name__ == "__main__":
    main()
