#!/usr/bin/env python3
"""
Connections that sleep beside connections that do not: event streams that come and go, answers given later to clients
that have left, slow readers, and keep-alive requests in between that must never wait. Then a close in the middle of it.

    http_stress.py ECHO [SECONDS]
"""
import random
import re
import socket
import struct
import sys
import threading
import time

from wire import WAIT, Broken, Server, counts

N_STREAMS = 150
N_ASKERS = 8
OVERTAKEN = 2000  # answers to others between a request and its own: a few dozen are usual, on a slow machine too
HOST = b" HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Stress:
    def __init__(self, server, seconds):
        self.server = server
        self.end = time.monotonic() + seconds
        self.faults = []
        self.n_asked = self.n_events = self.overtaken = 0
        self.lock = threading.Lock()

    def goes_on(self):
        return time.monotonic() < self.end and not self.faults

    def fault(self, text):
        self.faults.append(text)

    def ask(self):
        """Keep-alive requests, each answered when its turn comes."""
        wire = self.server.wire()
        while self.goes_on():
            before = self.n_asked
            wire.send(b"GET /hello" + HOST)
            answer = wire.answer()
            if not answer or answer.body != b"hello\n":
                return self.fault(f"an asker got {answer and answer.status}")
            with self.lock:
                self.overtaken = max(self.overtaken, self.n_asked - before)
                self.n_asked += 1
        wire.close()

    def listen(self, seed):
        """Event streams one after the other: ids must come without a gap. Some leave with a reset, some without a word."""
        rng = random.Random(seed)
        while self.goes_on():
            wire = self.server.wire()
            wire.send(b"GET /events" + HOST)
            if wire.until(b"\r\n\r\n") is None:
                return self.fault("no stream")
            stop, ids = time.monotonic() + rng.uniform(0.05, 1.5), []
            while time.monotonic() < min(stop, self.end):
                wire.more()
                ids = [int(i) for i in re.findall(rb"id: (\d+)\ndata: [0-9.]+\n\n", wire.data)]
                if wire.closed:
                    return self.fault("a stream ended by itself")
            if ids and ids != list(range(ids[0], ids[0] + len(ids))):
                return self.fault(f"events are missing: {ids}")
            with self.lock:
                self.n_events += len(ids)
            if rng.random() < 0.5:
                wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.close()

    def leave(self, seed):
        """Clients that leave before their answer comes, and some that stay."""
        rng = random.Random(seed)
        while self.goes_on():
            wire = self.server.wire()
            ms, stream = rng.randrange(40), b"&stream=1" if rng.random() < 0.3 else b""
            wire.send(b"GET /defer?ms=%d" % ms + stream + HOST)
            if rng.random() < 0.3:
                answer = wire.answer()
                if not answer or answer.status != 200:
                    return self.fault("no answer later")
            elif rng.random() < 0.5:
                wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.close()

    def doze(self):
        """A stream whose client reads nothing: it must not hold anyone up, and is ended when its queue is full."""
        while self.goes_on():
            wire = self.server.wire()
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            wire.send(b"GET /events" + HOST)
            time.sleep(0.7)
            wire.close()

    def run(self):
        threads = [threading.Thread(target=self.guarded, args=(f, *a)) for f, *a in
                   [(self.ask,)] * N_ASKERS + [(self.listen, i) for i in range(N_STREAMS)]
                   + [(self.leave, i) for i in range(6)] + [(self.doze,)] * 3]
        for t in threads:
            t.start()
        for t in threads:
            t.join(2 * WAIT)
            if t.is_alive():
                self.fault("a client hangs")
                break
        if self.overtaken > OVERTAKEN:
            self.fault(f"{self.overtaken} others were answered before a request")

    def guarded(self, f, *args):
        try:
            f(*args)
        except (Broken, TimeoutError, OSError) as e:
            self.fault(f"{f.__name__}: {e!r}")


def close_in_the_middle(server):
    """Streams, answers that will come too late and half requests are open when the server has to go."""
    wires = []
    for target in [b"/events"] * 50 + [b"/defer?ms=0&stop=1"] * 10 + [b"/defer?ms=0&stop=1&stream=1"] * 10 + [b"/file?size=1000000000"] * 5:
        wire = server.wire()
        wire.send(b"GET " + target + HOST)
        wires.append(wire)
    for _ in range(5):
        wires.append(server.wire())
        wires[-1].send(b"GET / HT")
    end = time.monotonic() + WAIT
    while b"deferred 20 " not in counts(server) and time.monotonic() < end:
        time.sleep(0.05)
    code, out = server.stop()
    words = out.split()
    said = dict(zip(words[::2], words[1::2]))
    faults = []
    if code != 0:
        faults.append(f"the server ended with {code}")
    if not said or int(said["begun"]) > int(said["done"]):
        faults.append(f"requests were begun and never done: {out}")
    for wire in wires[50:60]:
        answer = wire.answer()
        if not answer or answer.status != 503:
            faults.append(f"an answer in flight became {answer and answer.status}")
    for wire in wires:
        wire.close()
    return faults


def main(argv):
    server = Server([argv[0], "tick=10", "close=1"])
    stress = Stress(server, float(argv[1]) if len(argv) > 1 else 5)
    stress.run()
    rss = server.rss()
    faults = stress.faults + close_in_the_middle(server)
    for fault in sorted(set(faults)):
        print("FAILED", fault)
    print(f"{stress.n_asked} requests, at most {stress.overtaken} overtook one; {stress.n_events} events; {rss} KB")
    return 1 if faults or stress.n_asked == 0 or stress.n_events == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
