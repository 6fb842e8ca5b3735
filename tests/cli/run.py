#!/usr/bin/env python3
"""A conversation on a terminal: editing, history, several lines, Ctrl-C, and a terminal that is left as it was.
tests/cli/run.py PROGRAM"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import tempfile
import termios
import time

PROGRAM = os.path.abspath(sys.argv[1])
os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
MODEL = "examples/model"
failures = 0
WAIT = 120


def holds(name, truth, seen=""):
    global failures
    if not truth:
        print("FAILED", name, repr(seen)[-2000:])
        failures += 1


class Screen:
    """A terminal that wraps: what the line editor uses, and nothing else."""

    def __init__(self, width):
        self.width, self.rows, self.row, self.column = width, [[]], 0, 0

    def down(self):
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])

    def feed(self, text):
        for token in re.findall(r"\x1b\[\??\d*[A-Za-z]|[^\x1b]|\x1b", text, re.S):
            if token == "\r":
                self.column = 0
            elif token == "\n":
                self.down()
            elif token == "\x1b[J":
                del self.rows[self.row][self.column:]
                del self.rows[self.row + 1:]
            elif token.startswith("\x1b[?"):
                pass
            elif token[0] == "\x1b" and token[-1] in "AC":
                n = int(token[2:-1] or 1)
                self.row, self.column = (max(self.row - n, 0), self.column) if token[-1] == "A" else (self.row, min(self.column + n, self.width - 1))
            elif token[0] == "\x1b":
                raise ValueError(f"the terminal obeys {token!r}")
            else:
                if self.column == self.width:
                    self.column = 0
                    self.down()
                row = self.rows[self.row]
                row.extend(" " * (self.column - len(row)))
                row[self.column:self.column + 1] = token
                self.column += 1

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.rows)


class Talk:
    def __init__(self, *arguments, state, width=80, rows=24, model=MODEL):
        self.width = width
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(XDG_STATE_HOME=state, TERM="xterm")
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execv(PROGRAM, ["halftone", "run", model, *arguments])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, width, 0, 0))
        self.seen = ""
        self.raw = b""
        self.at = 0

    def read(self):
        try:
            part = os.read(self.fd, 65536)
        except OSError:
            part = b""
        self.raw += part
        self.seen = self.raw.decode(errors="replace")
        return bool(part)

    def until(self, pattern):
        """Waits for a text behind what was waited for before."""
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            found = re.compile(pattern, re.S).search(self.seen, self.at)
            if found:
                self.at = found.end()
                return True
            if select.select([self.fd], [], [], 1)[0] and not self.read():
                break
        holds(f"{pattern} was waited for", False, self.seen)
        return False

    def prompt(self):
        return self.until(r"\x1b\[\?2004h[^>]*>>> ")  # each new line begins with this, and a line that is drawn again does not

    def write(self, text):
        os.write(self.fd, text.encode() if isinstance(text, str) else text)

    def say(self, text):
        self.prompt()
        self.write(text)

    def end(self):
        """The exit status."""
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline and (not select.select([self.fd], [], [], 1)[0] or self.read()):
            pass
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)

    def screen(self):
        screen = Screen(self.width)
        screen.feed(self.seen)
        return screen.text()


def history(state):
    try:
        with open(os.path.join(state, "halftone/history"), encoding="utf-8") as file:
            return file.read().split("\n")[:-1]
    except FileNotFoundError:
        return []


def short(*more):
    return ("--threads", "1", "-n", "4", *more)


def edited(state, keys, width=80):
    """What was entered with these keys, as the history keeps it; and the screen."""
    talk = Talk(*short(), state=state, width=width)
    talk.say(keys + "\r")
    talk.say("/bye\r")
    holds(f"{keys!r}: ends well", talk.end() == 0, talk.seen)
    kept = [line for line in history(state) if line != "/bye"]
    return kept[-1] if kept else None, talk.screen()


def editing(work):
    left, right, up, down, home, end, delete = ("\x1b[" + k for k in ("D", "C", "A", "B", "H", "F", "3~"))
    cases = [("Hello", "Hello"), ("ello\x01H\x05 wor\x7f", "Hello wo"), ("ab" + left + "x", "axb"), ("ab" + left + left + right + "x", "axb"),
             ("abc" + home + delete + end + "d", "bcd"), ("one two three\x17four", "one two four"), ("one two\x01\x0bthree", "three"),
             ("one two\x15three", "three"), ("one two\x1bbx", "one xtwo"), ("grüße" + left + left + "\x7f", "grße"), ("日本語" + left + "\x7f!", "日!語"),
             ("a\x1b\rb", "a\\nb"), ("\x1b[200~a\rb\\\x1b[201~c", "a\\nb\\\\c"), ("ab\x04" + left + "\x04", "a"), ("x" + up + "y", None)]
    for at, (keys, want) in enumerate(cases):
        state = os.path.join(work, f"edit{at}")
        got, screen = edited(state, keys)
        if want is not None:
            holds(f"{keys!r} is {want!r}", got == want, (got, screen))

    # A line that is longer than the terminal is wide, changed at its beginning: it is drawn over several rows
    long = " ".join(f"word{i}" for i in range(30))
    got, screen = edited(os.path.join(work, "long"), long + "\x01X \x05 end", width=40)
    holds("a long line", got == "X " + long + " end", got)
    rows = screen.split("\n")
    holds("no row is wider", max(map(len, rows)) <= 40, screen)
    at = next(i for i, row in enumerate(rows) if row.startswith(">>> X"))
    joined = "".join(row.ljust(40) for row in rows[at:at + 8])
    holds("a long line on the screen, once", (">>> X " + long + " end") in joined and screen.count("word0") == 1, screen)


def remembered(work):
    state = os.path.join(work, "past")
    talk = Talk(*short(), state=state)
    for line in ("first", "second\x1b\rline", "second\x1b\rline", "/set nohistory"):
        talk.say(line + "\r")
    talk.say("hidden\r")
    talk.say("\x1b[A\x1b[A\x1b[A\x1b[B\x1b[A\r")  # /set nohistory, second, first …: in memory they are all there
    talk.say("\x04")
    holds("Ctrl-D ends it", talk.end() == 0, talk.seen)
    holds("the history", history(state) == ["first", "second\\nline", "/set nohistory"], history(state))
    holds("its owner's alone", os.stat(os.path.join(state, "halftone/history")).st_mode & 0o777 == 0o600)
    talk = Talk(*short(), state=state)
    talk.say("\x1b[A\x1b[A\x1b[A\x1b[A!\r")  # older than the oldest is the oldest
    talk.say("draft\x1b[A\x1b[B\x7fs\r")
    talk.say("/bye\r")
    holds("a second session", talk.end() == 0)
    holds("the arrows bring back what an earlier session had", history(state)[3:] == ["first!", "drafs", "/bye"], history(state))
    # Files of that name that are none, or are too large
    for name, make in (("fifo", os.mkfifo), ("folder", os.mkdir), ("large", lambda path: open(path, "wb").write(b"x\n" * 3000000)),
                       ("odd", lambda path: open(path, "wb").write(b"\x00\xff\\\n" + b"y" * 100000))):
        state = os.path.join(work, name)
        os.makedirs(os.path.join(state, "halftone"))
        make(os.path.join(state, "halftone/history"))
        talk = Talk(*short(), state=state)
        talk.say("\x1b[A\x15/bye\r")
        holds(f"a history that is {name}", talk.end() == 0, talk.seen)
    holds("a long history is cut", os.path.getsize(os.path.join(work, "large", "halftone/history")) < 10000)


def interrupted(work):
    state = os.path.join(work, "cut")
    endless = ("--threads", "1", "--ctx", "1000", "--temperature", "3", "--top-k", "0", "--top-p", "1", "--min-p", "0", "-n", "100000")
    talk = Talk(*endless, state=state)
    before = termios.tcgetattr(talk.fd)
    talk.say("half a line\x03")
    talk.until("Ctrl-D or /bye")
    talk.say("Hello\r")
    talk.until(r"Hello.*?\n.{30}")
    talk.write("\x03")
    talk.say("/set max-tokens 3\r")
    talk.say("Again\r")
    talk.say("/nothing\r")
    talk.until("there is no command")
    talk.say("/load /nowhere\r")
    talk.until("no such file")
    talk.say("Still there\r")
    talk.say('"""begun\r')
    talk.until(r"\.\.\. ")
    talk.write("\x03")
    talk.say("/bye\r")
    status = talk.end()
    holds("Ctrl-C ends the answer, not the program", status == 0, talk.seen)
    holds("a line that was given up was not said", "half a line" not in history(state), history(state))

    for name, at_prompt in (("at the prompt", True), ("in an answer", False)):
        talk = Talk(*endless, state=state)
        talk.prompt()
        if not at_prompt:
            talk.write("Hello\r")
            talk.until(r"Hello.*?\n.{30}")
        os.kill(talk.pid, signal.SIGTERM)
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline and (not select.select([talk.fd], [], [], 1)[0] or talk.read()):
            pass
        holds(f"SIGTERM {name}: the terminal is as it was", termios.tcgetattr(talk.fd)[3] == before[3], talk.seen)
        holds(f"SIGTERM {name}: 130", talk.end() == 130, talk.seen)


def shown(work):
    talk = Talk(*short("--verbose"), state=os.path.join(work, "shown"))
    talk.say("Hello\r")
    talk.until(r"\[\d+ tokens read")
    talk.say("/set quiet\r")
    at = len(talk.seen)
    talk.say("Hello\r")
    talk.say("/bye\r")
    holds("quiet", talk.end() == 0 and "tokens read" not in talk.seen[at:], talk.seen)
    # TERM=dumb: no editing, and no sequences
    state = os.path.join(work, "dumb")
    os.environ["TERM"] = "dumb"
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["XDG_STATE_HOME"] = state
        os.execv(PROGRAM, ["halftone", "run", MODEL, *short()])
    os.write(fd, b"Hello\n/bye\n")
    seen = b""
    try:
        while part := os.read(fd, 65536):
            seen += part
    except OSError:
        pass
    holds("a terminal that can do nothing", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 and b"\x1b" not in seen, seen)


with tempfile.TemporaryDirectory() as work:
    for part in (editing, remembered, interrupted, shown):
        part(work)
print("every case passed" if not failures else f"{failures} failed")
sys.exit(1 if failures else 0)
