"""Raw sockets and a strict reader of HTTP/1.1 answers, for tests that must see every byte."""
import os
import socket
import subprocess
import time

WAIT = 120  # seconds: ends a test of what hangs, and measures nothing


class Broken(Exception):
    """The peer's bytes are no HTTP/1.1 answer."""


class Wire:
    def __init__(self, address, timeout=WAIT):
        self.sock = socket.create_connection(address, timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""
        self.closed = False

    def send(self, data):
        """False when the peer has hung up."""
        try:
            self.sock.sendall(data)
            return True
        except OSError:
            return False

    def half_close(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.sock.close()

    def more(self, timeout=WAIT):
        """Reads what is there. False at the end."""
        if self.closed:
            return False
        self.sock.settimeout(timeout)
        try:
            piece = self.sock.recv(1 << 20)
        except socket.timeout:
            raise TimeoutError("nothing came")
        except OSError:
            piece = b""
        self.closed = not piece
        self.data += piece
        return bool(piece)

    def until(self, mark):
        while mark not in self.data:
            if not self.more():
                return None
        head, self.data = self.data.split(mark, 1)
        return head

    def exactly(self, n):
        while len(self.data) < n:
            if not self.more():
                raise Broken(f"cut short: {len(self.data)} of {n} bytes")
        piece, self.data = self.data[:n], self.data[n:]
        return piece

    def answer(self, head_only=False):
        """The next answer, or None when the peer hung up instead."""
        head = self.until(b"\r\n\r\n")
        if head is None:
            if self.data:
                raise Broken(f"half an answer: {self.data[:80]!r}")
            return None
        answer = Answer(head)
        if head_only or answer.status < 200 or answer.status in (204, 304):
            return answer
        if answer.all("transfer-encoding"):
            if answer.all("content-length"):
                raise Broken("two framings")
            answer.body = self.chunks()
        elif answer.all("content-length"):
            answer.body = self.exactly(int(answer.one("content-length")))
        else:
            while self.more():
                pass
            answer.body, self.data = self.data, b""
        return answer

    def chunks(self):
        body = b""
        while True:
            line = self.until(b"\r\n")
            if line is None:
                raise Broken("cut within chunks")
            n = int(line.split(b";")[0], 16)
            if n == 0:
                if self.until(b"\r\n") != b"":
                    raise Broken("trailers")
                return body
            body += self.exactly(n)
            if self.exactly(2) != b"\r\n":
                raise Broken("chunk without an end")

    def is_closed(self, timeout=WAIT):
        """Whether the peer hangs up, sending nothing more."""
        end = time.monotonic() + timeout
        while not self.closed and not self.data and time.monotonic() < end:
            try:
                self.more(max(0.01, end - time.monotonic()))
            except TimeoutError:
                return False
        return self.closed and not self.data


class Answer:
    def __init__(self, head):
        lines = head.split(b"\r\n")
        version, status, self.reason = (lines[0] + b" ").split(b" ", 2)
        if version != b"HTTP/1.1" or len(status) != 3 or not status.isdigit():
            raise Broken(f"no status line: {lines[0]!r}")
        self.status = int(status)
        self.headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon or not name or name.strip() != name or b"\n" in line or b"\r" in line:
                raise Broken(f"no header: {line!r}")
            self.headers.append((name.decode("latin-1").lower(), value.strip().decode("latin-1")))
        self.body = b""

    def all(self, name):
        return [v for n, v in self.headers if n == name]

    def one(self, name):
        values = self.all(name)
        if len(values) != 1:
            raise Broken(f"{len(values)} times {name}")
        return values[0]


class Server:
    """A program that prints "port N" and ends when its input does."""

    def __init__(self, argv, **how):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **how)
        line = self.process.stdout.readline().split()
        if len(line) != 2 or line[0] != b"port":
            raise SystemExit(f"{argv[0]} did not start: {line}")
        host = next((a[8:] for a in argv if a.startswith("address=")), "127.0.0.1")
        self.address = (host, int(line[1]))

    def wire(self):
        return Wire(self.address)

    def rss(self):
        """Kilobytes in memory."""
        with open(f"/proc/{self.process.pid}/status") as f:
            return next(int(l.split()[1]) for l in f if l.startswith("VmRSS"))

    def n_files(self):
        """Open descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu(self):
        """Processor seconds spent."""
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def stop(self):
        """(exit code, the rest of its output)"""
        out, _ = self.process.communicate(timeout=WAIT)
        return self.process.returncode, out.decode()


def counts(server):
    """How many requests the server of these tests has begun, done, freed and put off."""
    wire = server.wire()
    wire.send(b"GET /counts HTTP/1.1\r\nHost: localhost\r\n\r\n")
    body = wire.answer().body
    wire.close()
    return body
