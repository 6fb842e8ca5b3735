#!/usr/bin/env python3
"""
Limits and deadlines that need more than one request to be seen.

    http_limits.py ECHO
"""
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from wire import WAIT, Broken, Server, Wire, counts

HOST = b" HTTP/1.1\r\nHost: localhost\r\n\r\n"


def check(truth, text):
    if not truth:
        raise AssertionError(text)


def served(wire):
    wire.send(b"GET /hello" + HOST)
    answer = wire.answer()
    return answer is not None and answer.body == b"hello\n"


def wait_until(truth, text):
    end = time.monotonic() + WAIT
    while not truth():
        check(time.monotonic() < end, text)
        time.sleep(0.05)


def connections_of_one_peer(program):
    server = Server([program, "peer=5"])
    wires = [server.wire() for _ in range(5)]
    check(all(served(w) for w in wires), "five are served")
    sixth = server.wire()
    sixth.send(b"GET /hello" + HOST)
    check(sixth.answer().status == 503 and sixth.is_closed(), "the sixth is told to come again")
    probe = server.wire()
    probe.send(b"GET /probe" + HOST)
    check(probe.answer().status == 200, "a probe is served all the same")
    wires.pop().close()

    def room():
        wire = server.wire()
        try:
            return served(wire)
        finally:
            wire.close()

    wait_until(room, "one that leaves makes room for another")
    for wire in wires:
        wire.close()
    return server


def connections_of_all(program):
    """At the limit idle connections give way, and those that are at work do not."""
    server = Server([program, "connections=8", "threads=3"])
    busy = [server.wire() for _ in range(4)]
    for wire in busy:
        wire.send(b"GET /events" + HOST)
    idle = [server.wire() for _ in range(4)]
    check(all(served(w) for w in idle), "eight are served")
    late = server.wire()
    check(served(late), "a ninth is served when an idle one has given way")
    check(all(w.until(b"\r\n\r\n") is not None and w.more() for w in busy), "streams go on")
    for wire in busy + idle + [late]:
        wire.close()
    return server


def reserve(program):
    """With every place taken by streams, probes are served and others are told to come again, whoever sits there silent."""
    server = Server([program, "connections=8"])
    busy = [server.wire() for _ in range(8)]
    for wire in busy:
        wire.send(b"GET /events" + HOST)
        check(wire.until(b"\r\n\r\n") is not None, "a stream begins")
    silent = [server.wire() for _ in range(40)]
    for round in range(20):
        probe, other = server.wire(), server.wire()
        probe.send(b"GET /probe" + HOST)
        answer = probe.answer()
        check(answer and answer.status == 200 and answer.one("connection") == "close", f"probe {round} is served")
        other.send(b"GET /hello" + HOST)
        answer = other.answer()
        check(answer and answer.status == 503 and answer.one("retry-after") == "1", f"other {round} is told to come again")
        check(probe.is_closed() and other.is_closed(), "both are closed")
    posting = server.wire()
    posting.send(b"POST /probe HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345")
    check(posting.answer().status == 503, "only GET and HEAD are probes")
    check(all(w.more() for w in busy), "streams go on")
    check(all(w.is_closed() for w in silent), "the silent are closed")
    busy.pop().close()

    def place():
        wire = server.wire()
        return served(wire) and served(wire)

    wait_until(place, "who comes when one has left gets its place")
    for wire in busy:
        wire.close()
    return server


def all_ready_at_once(program):
    """Whatever number of connections asks a loop at one moment, each gets its answers, again and again."""
    server = Server([program, "threads=1"])
    for n in (64, 127, 128, 129, 192, 256, 384, 512, 1000):
        wires = [server.wire() for _ in range(n)]
        for _ in range(3):
            server.process.send_signal(signal.SIGSTOP)
            for wire in wires:
                wire.send(b"GET /hello" + HOST)
            server.process.send_signal(signal.SIGCONT)
            for wire in wires:
                answer = wire.answer()
                check(answer and answer.body == b"hello\n", f"one of {n} is served")
        for wire in wires:
            wire.close()
    return server


def few_descriptors(program):
    """With few descriptors fewer clients are let in, and files can still be opened for them."""
    server = Server(["sh", "-c", 'ulimit -n 140 && exec "$0"', program])
    wires = []
    for _ in range(90):
        wires.append(server.wire())
        check(served(wires[-1]), "everybody is served in the end")
    check(server.n_files() < 100, f"{server.n_files()} descriptors are open")
    wires[-1].send(b"GET /file?size=1000" + HOST)
    check(wires[-1].answer().status == 200, "a file is served")
    for wire in wires:
        wire.close()
    return server


def slow_heads(program):
    """A crowd of slow clients is gone after the deadline; others are served while it is there."""
    server = Server([program, "header=2"])
    start = time.monotonic()
    crowd = [server.wire() for _ in range(300)]
    ends = select.poll()
    for wire in crowd:
        ends.register(wire.sock, select.POLLIN)
    asker, n_open, n_rounds, dripped = server.wire(), len(crowd), 0, start
    while n_open:
        check(served(asker), "the asker is served")
        time.sleep(0.01)
        if time.monotonic() - dripped < 0.3:
            continue
        dripped = time.monotonic()
        check(dripped - start < WAIT, f"{n_open} slow clients are still there")
        for wire in crowd:
            wire.send(b"G")
        n_open = len(crowd) - len(ends.poll(0))
        n_rounds += n_open > 0
    check(all(w.is_closed() for w in crowd), "nothing is said to them")
    check(time.monotonic() - start >= 2, "they had their time")
    check(n_rounds >= 2, "the asker was served while the crowd was there")
    for wire in crowd + [asker]:
        wire.close()
    return server


def slow_readers(program):
    """Who takes nothing of an answer is cut off; who takes it slowly is not."""
    server = Server([program, "body=1"])
    stuck = server.wire()
    steady = reads_steadily(server)
    while not steady:
        steady = reads_steadily(server)
    steady.close()
    stuck.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    stuck.send(b"GET /file?size=300000000" + HOST)
    wait_until(lambda: server.n_files() <= files_at_rest(server), "the file and the connection are closed")
    try:
        stuck.answer()
        check(False, "the stuck reader got it all")
    except Broken:
        pass
    return server


def reads_steadily(server):
    """A client that has read slowly for three times the deadline, or None: this process was held up itself."""
    wire = Wire(server.address)
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    wire.send(b"GET /file?size=300000000" + HOST)
    begun = last = time.monotonic()
    while last - begun < 3:
        n = len(wire.sock.recv(65536))
        time.sleep(0.02)
        now = time.monotonic()
        if now - last > 0.5:
            wire.close()
            return None
        check(n > 0, "the steady reader is served")
        last = now
    return wire


def files_at_rest(server):
    """Descriptors of a server that nobody is connected to: measured on a fresh one."""
    if not hasattr(server, "at_rest"):
        fresh = Server(server.process.args)
        check(served(fresh.wire()), "the fresh one serves")
        time.sleep(0.7)
        server.at_rest = fresh.n_files()
        fresh.stop()
    return server.at_rest


def readers_that_leave(program):
    """Downloads that are broken off, at whatever moment, harm nobody."""
    server = Server([program, "threads=1"])
    for round in range(60):
        wire = server.wire()
        wire.send(b"GET /file?size=300000000" + HOST)
        for _ in range(round % 7):
            wire.more()
        if round % 2:
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()
        check(served(server.wire()), "the server serves")
    return server


def slow_listeners(program):
    """A stream that nobody reads is ended once its queue is full; others lose nothing."""
    server = Server([program, "tick=1"])
    deaf, good = socket.socket(), server.wire()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    deaf.connect(server.address)
    deaf.sendall(b"GET /stream?n=100000&size=1000&max=4000000" + HOST)
    good.send(b"GET /events" + HOST)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        check(good.more(), "the good listener is served")
    deaf.settimeout(WAIT)
    total = 0
    try:
        while piece := deaf.recv(1 << 16):
            total += len(piece)
    except OSError:
        pass
    check(total < 100000 * 1000, "the deaf listener got more than its queue holds")
    good.close()
    deaf.close()
    return server


def complaints(program):
    """However many requests are malformed, the log stays short."""
    server = Server([program, "log=1"], stderr=subprocess.PIPE)
    for _ in range(300):
        wire = server.wire()
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
        while wire.more():
            pass
        wire.close()
    server.process.stdin.close()
    lines = server.process.stderr.read().splitlines()
    server.process.wait(WAIT)
    n = sum(line.startswith(b"log:") for line in lines)
    check(n < 100, f"{n} lines of complaint")
    check(sum(line.startswith(b"127.0.0.1 ") and b" 400 " in line for line in lines) == 300, "each is reported once as done")
    return None


def stopping(program):
    """New connections are refused, answers in flight come and close, idle connections end."""
    server = Server([program])
    idle, late = server.wire(), server.wire()
    check(served(idle), "served before")
    late.send(b"GET /defer?ms=0&stop=1" + HOST)
    wait_until(lambda: b"deferred 1" in counts(server), "it is being answered")
    server.process.stdin.write(b"s")
    server.process.stdin.flush()
    check(idle.is_closed(), "idle connections end")
    answer = late.answer()
    check(answer and answer.status == 200 and answer.one("connection") == "close", "the answer in flight comes")
    check(late.is_closed(), "and is the last")

    def refused():
        try:
            server.wire().close()
            return False
        except OSError:
            return True

    wait_until(refused, "nobody else is let in")
    return server


def loop_that_is_held_up(program):
    """An application that blocks a loop delays others, whose requests lie there unread; they are not to blame."""
    server = Server([program, "threads=1", "header=1", "body=1"])
    while True:
        blocker, head, body = server.wire(), server.wire(), server.wire()
        begun = time.monotonic()
        body.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        time.sleep(0.2)
        blocker.send(b"GET /block?ms=1800" + HOST)
        time.sleep(0.1)
        head.send(b"GET /hello" + HOST)
        body.send(b"67890")
        if time.monotonic() - begun < 0.6:
            break
        for wire in (blocker, head, body):  # this process was held up itself: they may be to blame
            wire.close()
    answer = head.answer()
    check(answer and answer.body == b"hello\n", "the head was there in time")
    answer = body.answer()
    check(answer and answer.status == 200, "the body was there in time")
    return server


def nobody_spins(program):
    """Connections in every state that can last cost no processor time while they last."""
    server = Server([program, "tick=1000", "body=20"])
    lasting = {"idle": b"GET /hello" + HOST, "stream": b"GET /events" + HOST, "stream, talking": b"GET /events" + HOST + b"x" * 50000,
               "deferred": b"GET /defer?ms=6000" + HOST, "deferred, more asked": b"GET /defer?ms=6000" + HOST + (b"GET /hello" + HOST) * 200,
               "not reading": b"GET /file?size=100000000" + HOST, "not reading, more asked": b"GET /file?size=100000000" + HOST * 500,
               "half a head": b"GET / HT", "half a body": b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n12",
               "file that was cut": b"GET /file?size=3000000&cut=1" + HOST}
    wires = []
    for request in lasting.values():
        for half_closed in (False, True):
            for _ in range(5):
                wires.append(server.wire())
                wires[-1].send(request)
                if half_closed:
                    wires[-1].half_close()
    time.sleep(1)
    before = server.cpu()
    time.sleep(2)
    spent = server.cpu() - before
    check(spent < 1, f"{spent:.2f} s of processor time in two seconds")
    for wire in wires:
        wire.close()
    return server


def half_of_a_second_head(program):
    """Deadlines hold for a kept connection's next head, and descriptors come back."""
    server = Server([program, "header=1", "idle=30"])
    check(files_at_rest(server) > 0, "a measure")
    wires = [server.wire() for _ in range(20)]
    check(all(served(w) for w in wires), "served")
    for wire in wires:
        wire.send(b"GET / HTTP/1.1\r\n")
    check(all(w.is_closed() for w in wires), "half a head is not waited for")
    wait_until(lambda: server.n_files() <= files_at_rest(server), "descriptors come back")
    return server


def pieces_that_are_left(program):
    """An answer of pieces whose client leaves, or never reads, is freed with its open file."""
    server = Server([program])

    def n_freed():
        wire = server.wire()
        wire.send(b"GET /counts" + HOST)
        return int(wire.answer().body.split()[5])

    check(files_at_rest(server) > 0, "a measure")
    wires = [server.wire() for _ in range(12)]
    for wire in wires:
        wire.send(b"GET /pieces?size=1000000&len=1000000000" + HOST)
    wait_until(lambda: server.n_files() >= files_at_rest(server) + 20, "their files are open")
    for wire in wires[:8]:
        wire.close()
    wait_until(lambda: n_freed() == 8, "those that left are freed")
    for wire in wires[8:]:
        wire.close()
    wait_until(lambda: n_freed() == 12, "all are freed")
    wait_until(lambda: server.n_files() <= files_at_rest(server) + 2, "descriptors come back")
    return server


def clients_that_leave(program):
    """Who waits for an answer can be asked about: there while he waits, with more requests sent too, and left when he has."""
    server = Server([program])

    def n_left():
        words = counts(server).split()
        return int(words[words.index(b"left") + 1])

    waiting = [server.wire() for _ in range(4)]
    for i, wire in enumerate(waiting):
        wire.send(b"GET /defer?left=1" + HOST + (b"GET /hello" + HOST) * (i % 2))
    wait_until(lambda: b"deferred 4" in counts(server), "all wait")
    check(n_left() == 0, "all are there")
    for wire in waiting[:3]:
        wire.close()
    wait_until(lambda: n_left() == 3, "three have left")
    waiting[3].close()
    wait_until(lambda: n_left() == 4, "so has the last")
    wire = server.wire()
    wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\nX-Last: one\r\nX-Last: two, three\r\n\r\n")
    check(b"last [two, three]" in wire.answer().body, "the last of several headers")
    return server


def sockets_that_a_child_holds(program):
    """Connections that were closed while a child of the server still had their sockets say nothing more."""
    server = Server([program, "idle=1", "threads=1"])
    wires = [server.wire() for _ in range(50)]
    check(all(served(w) for w in wires), "served")
    forker = server.wire()
    forker.send(b"GET /fork?ms=4000" + HOST)
    check(forker.answer().status == 200, "a child is there")
    for wire in wires[:25]:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
        check(wire.answer().status == 400, "refused")
        wire.send(b"more")
        wire.close()
    time.sleep(2)
    for wire in wires:
        wire.send(b"GET /hello" + HOST)
        wire.close()
    for _ in range(20):
        check(served(server.wire()), "the server serves")
    check(server.cpu() < 2, "and does not spin")
    return server


def version_6(program):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        print("SKIPPED version_6: this machine has none")
        return None
    server = Server([program, "address=::1", "log=1"], stderr=subprocess.PIPE)
    check(served(server.wire()), "served")
    server.process.stdin.close()
    check(b"::1 GET /hello 200" in server.process.stderr.read(), "the peer is named")
    server.process.wait(WAIT)
    return None


def bad_address(program):
    for argument in ("address=localhost", "address=1.2.3", "address=[::1]", "address=203.0.113.1"):
        result = subprocess.run([program, argument], stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT)
        check(result.returncode == 1 and argument[8:].encode() in result.stderr, f"{argument}: {result}")
    taken = socket.create_server(("127.0.0.1", 0))
    result = subprocess.run([program, f"port={taken.getsockname()[1]}"], stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT)
    check(result.returncode == 1 and b"cannot listen" in result.stderr, f"a port that is taken: {result}")
    return None


TESTS = [connections_of_one_peer, connections_of_all, reserve, all_ready_at_once, few_descriptors, slow_heads, slow_readers, readers_that_leave, slow_listeners, complaints, stopping,
         loop_that_is_held_up, nobody_spins, half_of_a_second_head, pieces_that_are_left, clients_that_leave, sockets_that_a_child_holds, version_6, bad_address]


def run(test, program):
    try:
        server = test(program)
        if server:
            code, _ = server.stop()
            check(code == 0, f"the server ended with {code}")
    except (AssertionError, AttributeError, Broken, TimeoutError, OSError) as e:
        return f"{test.__name__}: {e!r}"
    return None


def main(argv):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 16), hard))
    with ThreadPoolExecutor(len(TESTS)) as pool:
        faults = [f for f in pool.map(lambda t: run(t, argv[0]), TESTS) if f]
    for fault in faults:
        print("FAILED", fault)
    print(f"{len(TESTS)} tests, {len(faults)} failed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
