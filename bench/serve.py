#!/usr/bin/env python3
"""The service as it is run: start to ready, memory at rest, small requests.

    bench/serve.py [HALFTONE]           HT_SECONDS=5
"""
import json
import multiprocessing
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/halftone")
SECONDS = float(os.environ.get("HT_SECONDS", "5"))
CONNECTIONS = 32


def start(data):
    begun = time.monotonic()
    p = subprocess.Popen([PROGRAM, "serve", "--port", "0", "--data", data], stdout=subprocess.PIPE, text=True)
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


def load(port, path, counter):
    """Keep-alive connections, sixteen requests on the way on each; answers are counted by their length."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
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


def rate(port, pid, path):
    counter, before = multiprocessing.Queue(), cpu(pid)
    client = multiprocessing.Process(target=load, args=(port, path, counter))
    client.start()
    n = counter.get()
    client.join()
    used = cpu(pid) - before
    print(f"GET {path:32} {n / SECONDS:9.0f} requests/s  {used / n * 1e6:6.1f} us of processor each: {n / used:9.0f}/s for a core of its own")


def main():
    data = tempfile.mkdtemp(prefix="halftone-bench-")
    times = []
    for _ in range(9):
        p, port, seconds = start(data)
        times.append(seconds * 1000)
        p.send_signal(signal.SIGTERM)
        p.wait()
    print(f"start to ready: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms")
    p, port, _ = start(data)
    time.sleep(1)
    print(f"memory at rest: {field(p.pid, 'VmRSS') / 1024:.1f} MB, of it our own {field(p.pid, 'RssAnon') / 1024:.1f} MB, {field(p.pid, 'Threads')} threads")
    for path in ("/healthz", "/api/v1/quantize/jobs", "/api/v1/quantize/formats/gguf/types"):
        rate(port, p.pid, path)
    print(f"memory after it: {field(p.pid, 'VmRSS') / 1024:.1f} MB")
    begun = time.monotonic()
    p.send_signal(signal.SIGTERM)
    assert p.wait() == 0
    print(f"stopped in {(time.monotonic() - begun) * 1000:.0f} ms")
    shutil.rmtree(data)


if __name__ == "__main__":
    main()
