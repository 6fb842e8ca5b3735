#!/usr/bin/env bash
# The program on a terminal: see terminal.py.
#   tests/cli/terminal.sh PROGRAM
command -v python3 >/dev/null || { echo "SKIPPED the terminal: there is no python3"; exit 77; }
exec python3 "$(dirname "$0")/terminal.py" "${1:-build/halftone}"
