"""What runs of the campaign stand on: the servers that one lane of runs shares, processes whose words go to files, and a wire that can be cut."""
import json
import os
import random
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.request

from service import PROGRAM, STILL
import test_postgres
import test_redis
import test_s3
from test_workers import until


def free_port():
    """Below those that the system gives to whoever connects: it is free again when its process was killed and comes back."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(12000, 30000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


class Postgres(test_postgres.Server):
    def postmaster(self):
        with open(self.folder + "/data/postmaster.pid") as f:
            return int(f.readline())

    def kill(self):
        """kill -9 of the postmaster. Its backends end when they see it."""
        os.kill(self.postmaster(), signal.SIGKILL)

    def kill_backend(self):
        """kill -9 of one that serves: the postmaster ends all others, and recovers."""
        parent = self.postmaster()
        for pid in children(parent):
            try:
                with open(f"/proc/{pid}/cmdline") as f:
                    if "halftone" in f.read():
                        return os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    def signal_all(self, number):
        parent = self.postmaster()
        for pid in [parent] + children(parent):
            try:
                os.kill(pid, number)
            except OSError:
                pass

    def restart(self):
        """While a backend of the killed one still lives, its memory is in use and the start refused."""
        until(self.try_start)

    def try_start(self):
        try:
            self.start()
            return True
        except subprocess.CalledProcessError:
            return False

    def answers(self):
        try:
            return self.sql("SELECT 1") == "1"
        except subprocess.CalledProcessError:
            return False


def children(parent):
    with open(f"/proc/{parent}/task/{parent}/children") as f:
        return [int(pid) for pid in f.read().split()]


def descendants(pid):
    found = [pid]
    for at in found:
        try:
            found += children(at)
        except OSError:
            pass
    return found


class Lane:
    """Runs of one lane come one after another, so that what befalls a server befalls one run. Each server is started when it is wanted first."""

    def __init__(self):
        self.servers = {}

    def get(self, name):
        if name not in self.servers:
            make = {"postgres": Postgres, "redis": lambda: test_redis.Redis(port=free_port()), "s3": test_s3.moto}[name]
            self.servers[name] = make()
        return self.servers[name]

    def close(self):
        for name, server in self.servers.items():
            if name == "postgres":
                server.signal_all(signal.SIGCONT)
            server.close()


class Process:
    """halftone serve or worker. What it says is added to a file, through all its lives."""

    def __init__(self, log, arguments, environment=None):
        self.log, self.arguments = log, arguments
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("HALFTONE_", "HF_", "REDIS_", "AWS_"))}
        self.environment.update(environment or {})
        self.process, self.life = None, 0

    def start(self):
        with open(self.log, "ab") as f:
            self.life = f.tell()  # where it begins in the log
            self.process = subprocess.Popen([PROGRAM, *self.arguments], stdout=f, stderr=f, stdin=subprocess.DEVNULL, env=self.environment)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if self.alive():
            self.process.send_signal(number)

    def signal_all(self, number):
        """Its children too: a machine that stops, stops whole."""
        for pid in descendants(self.process.pid) if self.alive() else []:
            try:
                os.kill(pid, number)
            except OSError:
                pass

    def said(self, *words):
        """In all its lives."""
        return self.said_since(0, words)

    def ready(self):
        """Before it has said so, SIGTERM ends it as it ends any process."""
        return self.alive() and self.said_since(self.life, ('"working"', '"unreachable"', '"listening"'))

    def said_since(self, offset, words):
        with open(self.log, errors="replace") as f:
            f.seek(offset)
            return [line for line in f.read().split("\n") if any(w in line for w in words)]


class Wire:
    """A port of this machine that leads to another. Cut, it is silent, as where a cable was pulled: who connects is not answered, what was
    sent does not arrive, and nothing says so. Broken, each connection ends at once."""

    def __init__(self, port):
        self.to, self.state, self.changed = port, "whole", threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.pairs, self.half, self.closed = set(), set(), False  # half: one side has ended
        threading.Thread(target=self.accept, daemon=True).start()

    def set(self, state):
        with self.changed:
            self.state = state
            broken = list(self.pairs) if state == "broken" else []
            self.changed.notify_all()
        for pair in broken:
            self.drop(pair)

    def accept(self):
        while not self.closed:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.join, args=(near,), daemon=True).start()

    def join(self, near):
        pair = [near]
        with self.changed:
            self.pairs.add(key := tuple(pair))
            broken = self.state == "broken"
        if broken or not self.passes():
            return self.drop(key)
        try:
            far = socket.create_connection(("127.0.0.1", self.to))
        except OSError:
            return self.drop(key)
        with self.changed:
            self.pairs.discard(key)
            self.pairs.add(key := (near, far))
        threading.Thread(target=self.pump, args=(near, far, key), daemon=True).start()
        self.pump(far, near, key)

    def passes(self):
        """When it is whole. False: it is broken, or closed."""
        with self.changed:
            self.changed.wait_for(lambda: self.state != "cut" or self.closed)
            return self.state == "whole" and not self.closed

    def pump(self, source, sink, key):
        try:
            while (data := source.recv(65536)) and self.passes():
                sink.sendall(data)
            if not data and self.passes():
                sink.shutdown(socket.SHUT_WR)
                with self.changed:
                    first = key not in self.half
                    self.half.add(key)
                return None if first else self.drop(key, orderly=True)  # the other direction may have more to say
        except OSError:
            pass
        self.drop(key)

    def drop(self, pair, orderly=False):
        """Otherwise with a reset: no end that looks like one."""
        for s in pair:
            try:
                orderly or s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()
        with self.changed:
            self.pairs.discard(pair)
            self.half.discard(pair)

    def close(self):
        self.closed = True
        self.set("broken")
        self.listener.close()


class Disk:
    """A file system of its own that can be full. None where it may not be mounted."""

    def __init__(self, folder, megabytes):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", folder], stderr=subprocess.DEVNULL)
        self.mounted = done.returncode == 0

    def fill(self):
        with open(self.folder + "/.filler", "wb", buffering=0) as f:
            for size in (1 << 20, 1 << 12):
                try:
                    while True:
                        f.write(bytes(size))
                except OSError:
                    pass

    def empty(self):
        try:
            os.unlink(self.folder + "/.filler")
        except FileNotFoundError:
            pass

    def close(self):
        if self.mounted:
            subprocess.run(["umount", "-l", self.folder], check=True)


def may_mount(folder):
    disk = Disk(folder, 1)
    disk.close()
    return disk.mounted
