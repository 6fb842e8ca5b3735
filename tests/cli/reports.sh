#!/usr/bin/env bash
# The reports of all verbs against doc/report.schema.json: each is as it says, nothing else would be.
#   tests/cli/reports.sh PROGRAM
command -v python3 >/dev/null || { echo "SKIPPED the reports' schema: there is no python3"; exit 77; }
exec python3 "$(dirname "$0")/reports.py" "${1:-build/halftone}"
