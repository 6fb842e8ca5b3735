#!/usr/bin/env bash
# The client of an Ollama server: see ollama.py.
#   tests/cli/ollama.sh PROGRAM
command -v python3 >/dev/null || { echo "SKIPPED the client of Ollama: there is no python3"; exit 77; }
exec python3 "$(dirname "$0")/ollama.py" "${1:-build/halftone}"
