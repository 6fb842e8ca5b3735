#!/usr/bin/env python3
"""The program on a terminal: progress in one place, cleaned up, within its width; names that hold escapes; what comes next.
tests/cli/terminal.py PROGRAM"""
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

PROGRAM = os.path.abspath(sys.argv[1])
MODEL = "examples/model"
os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
failures = 0


def holds(name, truth, seen=""):
    global failures
    if not truth:
        print("FAILED", name, repr(seen)[:2000])
        failures += 1


class Screen:
    """As much of a terminal as our progress uses: characters, \\r, \\n, erase to the end of line or screen, cursor up."""

    def __init__(self, width):
        self.width, self.lines, self.row, self.column, self.widest, self.most = width, [""], 0, 0, 0, 0

    def feed(self, text):
        for token in re.findall(r"\x1b\[\d*[A-Za-z]|[^\x1b]|\x1b", text, re.S):
            line = self.lines[self.row]
            if token == "\r":
                self.column = 0
            elif token == "\n":
                self.row += 1
                self.column = 0
                if self.row == len(self.lines):
                    self.lines.append("")
            elif token in ("\x1b[K", "\x1b[J"):
                self.lines[self.row] = line[:self.column]
                if token == "\x1b[J":
                    del self.lines[self.row + 1:]
            elif token.endswith("A") and token[0] == "\x1b":
                self.row -= int(token[2:-1] or 1)
            elif token[0] == "\x1b":
                raise ValueError(f"the terminal obeys {token!r}")
            else:
                self.lines[self.row] = line[:self.column].ljust(self.column) + token + line[self.column + 1:]
                self.column += 1
                self.widest = max(self.widest, self.column)
                self.most = max(self.most, len(self.lines))

    def text(self):
        return "\n".join(self.lines).rstrip("\n")


def run(*arguments, width=80, rows=24, until=None, send=signal.SIGINT):
    """Runs on a terminal; when the text `until` was seen, presses Ctrl-C. Returns (status, screen, all that came)."""
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", rows, width, 0, 0))
        settings = termios.tcgetattr(1)
        settings[3] |= termios.NOFLSH  # without it Ctrl-C throws away output that was not read yet: half a character, say
        termios.tcsetattr(1, termios.TCSANOW, settings)
        os.execv(PROGRAM, ["halftone", *arguments])
    seen = b""
    while True:
        try:
            part = os.read(fd, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
        if until and re.search(until, seen.decode(errors="replace")):
            until = None
            os.write(fd, b"\x03") if send == signal.SIGINT else os.kill(pid, send)
    os.close(fd)
    status = os.waitpid(pid, 0)[1]
    screen = Screen(width)
    text = seen.decode()
    screen.feed(text)
    return os.waitstatus_to_exitcode(status), screen, text


def slow(*arguments):
    """Takes long enough to be watched: one thread, the slowest code."""
    return (*arguments, "--cpu", "scalar", "--threads", "1")


with tempfile.TemporaryDirectory() as work:
    for width in (80,):
        # Several outputs: a line with the model, and a bar for each type; nothing of it is left
        status, screen, text = run(*slow("quantize", MODEL, "-t", "IQ4_XS,Q4_K_M,Q3_K_L", "-o", os.path.join(work, str(width))), width=width)
        holds(f"{width}: it ends well", status == 0, screen.text())
        holds(f"{width}: no line is wider than the terminal", max(map(len, re.findall("quantize model .*?(?=\r)", text)), default=0) < width + 8, text)
        holds(f"{width}: the model is named", "quantize model" in text, text)
        for each in ("IQ4_XS", "Q4_K_M", "Q3_K_L"):
            holds(f"{width}: a bar for {each}", re.search(each + r" +[●·]{16} +[0-9.]+ %", text), text)
        holds(f"{width}: no bar is left", "●" not in screen.text() and "·" not in screen.text(), screen.text())
        holds(f"{width}: what comes next", re.search(r"next: halftone generate \S*\.gguf -p", screen.text()), screen.text())

    # One output: one line, which says model and type
    status, screen, text = run(*slow("quantize", MODEL, "-t", "IQ4_XS", "-o", os.path.join(work, "one")), width=100)
    holds("100: no line is wider than the terminal", max(map(len, re.findall("quantize model .*?(?=\r)", text)), default=0) < 108, text)
    holds("one output: model and type", "quantize model → IQ4_XS" in text and "\x1b[1A" not in text, text)

    # A terminal of few rows has one line
    status, screen, text = run(*slow("quantize", MODEL, "-t", "Q4_K_S,Q8_0", "-o", os.path.join(work, "low")), rows=4)
    holds("few rows", status == 0 and "\x1b[1A" not in text and "model → Q4_K_S,Q8_0" in text, text)

    # Ctrl-C: 130, the bars are gone, nothing is left
    out = os.path.join(work, "cut")
    for types in ("IQ3_S", "IQ3_S,Q3_K_L,Q4_K_M"):
        status, screen, text = run(*slow("quantize", MODEL, "-t", types, "-o", out), until="quantize model.*%")
        holds(f"Ctrl-C of {types}: 130", status == 130, screen.text())
        holds(f"Ctrl-C of {types}: the bars are gone", "●" not in screen.text() and "·" not in screen.text(), screen.text())
        holds(f"Ctrl-C of {types}: the error is last", "interrupted" in screen.text().splitlines()[-1], screen.text())
        holds(f"Ctrl-C of {types}: nothing is left", not os.path.exists(out) or not os.listdir(out), out)

    # Names that hold escapes are shown, not obeyed (the screen above knows no other sequence)
    evil = b"\x1b]0;pwned\x07\x1b[2Jname"
    key, value = b"general.evil\x1b[31m", evil
    with open(os.path.join(work, "evil.gguf"), "wb") as f:
        def string(b):
            return struct.pack("<Q", len(b)) + b
        f.write(b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + string(b"general.architecture") + struct.pack("<I", 8) + string(evil) +
                string(key) + struct.pack("<I", 8) + string(value) + string(b"blk." + evil) + struct.pack("<IQIQ", 1, 32, 0, 0))
        f.write(bytes((f.tell() + 31) // 32 * 32 - f.tell()) + bytes(128))
    for arguments in (("inspect", "--tensors"), ("inspect",), ("tokenize",), ("generate", "-p", "x"), ("quantize", "-t", "Q8_0", "-o", os.path.join(work, "shown")),
                      ("estimate", "-t", "Q8_0"),
                      ("eval", "--text", "default"), ("recommend",)):
        try:
            status, screen, text = run(arguments[0], os.path.join(work, "evil.gguf"), *arguments[1:])
            holds(f"escapes, {arguments}", "\x07" not in text and "\x1b]" not in text, text)
        except ValueError as error:
            holds(f"escapes, {arguments}: {error}", False)

    # serve: words on a terminal, and how it stops
    status, screen, text = run("serve", "--port", "0", "--data", os.path.join(work, "data"), until="Ctrl-C stops it")
    holds("serve: the address in words", re.search(r"Open http://127\.0\.0\.1:\d+/ in a browser\.", screen.text()), screen.text())
    holds("serve: no JSON for a person", "{" not in screen.text(), screen.text())
    holds("serve: it stops", status == 0, (status, screen.text()))

    # inspect FOLDER: the model in a short table
    said = subprocess.run([PROGRAM, "inspect", MODEL], capture_output=True, text=True, check=True).stdout
    for line in (r"architecture +llama", r"layers +8", r"context +1024", r"tokenizer +gpt2 \(", r"vocabulary +4096", r"license +"):
        holds(f"inspect: {line}", re.search(line, said), said)
print("every case passed" if not failures else f"{failures} failed")
sys.exit(1 if failures else 0)
