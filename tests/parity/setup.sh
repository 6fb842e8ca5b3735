#!/usr/bin/env bash
# Installs the programs that we are compared with, once: a Python environment and a prebuilt llama.cpp.
# Prints lines for `eval`: HT_PARITY_PYTHON, HT_LLAMA_LIB and HT_NODE_MODULES. What is set already is kept.
set -euo pipefail
cd "$(dirname "$0")"
cache=${HT_PARITY_DIR:-$PWD/.cache}
mkdir -p "$cache"
if [ -z "${HT_PARITY_PYTHON:-}" ]; then
    if [ ! -e "$cache/python.done" ]; then
        python3 -m venv "$cache/python" >&2
        "$cache/python/bin/pip" install -q torch==2.13.0 >&2
        "$cache/python/bin/pip" install -q -r requirements.txt >&2
        touch "$cache/python.done"
    fi
    HT_PARITY_PYTHON=$cache/python/bin/python
fi
if [ -z "${HT_LLAMA_LIB:-}" ]; then
    if [ ! -e "$cache/node.done" ]; then
        mkdir -p "$cache/node"
        cp package.json "$cache/node/"
        npm install --prefix "$cache/node" --ignore-scripts --omit=optional --silent >&2
        touch "$cache/node.done"
    fi
    HT_LLAMA_LIB=$cache/node/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64
fi
echo "export HT_PARITY_PYTHON='$HT_PARITY_PYTHON'"
echo "export HT_LLAMA_LIB='$HT_LLAMA_LIB'"
