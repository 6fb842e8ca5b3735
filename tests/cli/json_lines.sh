#!/usr/bin/env bash
# Every line of --json against doc/lines.schema.json and doc/report.schema.json: each command has a form, and prints it.
#   tests/cli/json_lines.sh PROGRAM
command -v python3 >/dev/null || { echo "SKIPPED the lines' schema: there is no python3"; exit 77; }
exec python3 "$(dirname "$0")/json_lines.py" "${1:-build/halftone}"
