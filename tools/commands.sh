#!/usr/bin/env bash
# The program's commands, one a line, as apps/cli/main.c declares them: each has a manual page.
cd "$(dirname "$0")/.." && sed -nE '/^static const struct command [a-z]+ = \{$/{n;s/^ *"([a-z]+)".*/\1/p}' apps/cli/main.c
