#!/usr/bin/env bash
# The program's commands, one a line, as apps/cli/commands.def declares them: each has a manual page.
cd "$(dirname "$0")/.." && sed -nE 's/^COMMAND\(([a-z]+),.*/\1/p' apps/cli/commands.def
