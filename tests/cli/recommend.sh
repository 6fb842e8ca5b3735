#!/usr/bin/env bash
# recommend: what fits by a byte is recommended, what lacks a byte is not; cards, offload, bad input.
#   tests/cli/recommend.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh

expect "for this machine" 0 "$halftone" recommend $model
holds "the best of all" grep -q "^Q8_0$" "$work/out"
expect "a list of cards" 0 "$halftone" gpus
holds "with a card" grep -q "RTX 3060  *12 GiB  *360 GB/s" "$work/out"

# bad input
for bad in memory= memory=lots memory=0 memory=-1 memory=1e400 gpu= gpu=RTX gpu=nothing gpu=A100 'gpu=%s%n' gpu-count=0 gpu-count=2 \
    ctx=0 ctx=x ctx=99999999999 cache-type=q4_k type=Q8_0 output=x for= for=word; do
    expect "refused: $bad" 2 "$halftone" recommend $model "--$bad"
done
expect "a chip whose memory is not told" 2 "$halftone" recommend $model --gpu "M2 Max"
expect "a cache that the program has not" 2 "$halftone" recommend $model --for vllm --cache-type q8_0
expect "no model" 2 "$halftone" recommend
expect "no such model" 3 "$halftone" recommend "$work/nothing"
head -c 100 examples/model/model.safetensors >"$work/broken.gguf"
expect "nothing fits" 4 "$halftone" recommend $model --memory 9M --ctx 131072
holds "in a unit that fits" grep -qE "needs [0-9.]+ [KM]B, [0-9.]+ [KM]B more than the 9.00 MB available" "$work/out"
expect "a broken model" 3 "$halftone" recommend "$work/broken.gguf" --memory 8G
expect "gpus wants nothing" 2 "$halftone" gpus x

if ! command -v python3 >/dev/null; then
    echo "SKIPPED the arithmetic: there is no python3"
    finish
fi
PYTHONPATH=tests/lib python3 - "$halftone" "$work" <<'PYTHON' || failed=1
import json, os, struct, subprocess, sys
import reports, shapes

program, work = sys.argv[1:]
failures = 0


def run(*arguments, status=0):
    done = subprocess.run([program, *arguments, "--json"], capture_output=True, text=True)
    if done.returncode != status:
        raise SystemExit(f"FAILED {arguments}: {done.returncode}, {done.stderr}")
    report = reports.of_output(done.stdout)
    holds(f"the schema of {arguments}: {report and reports.errors(report)}", not report or not reports.errors(report))
    return json.loads(done.stdout) if status in (0, 4) else None


def holds(name, truth):
    global failures
    if not truth:
        print("FAILED", name)
        failures += 1


path = os.path.join(work, "llama.gguf")
shapes.write(path, *shapes.SHAPES["Llama-3.1-8B"])
GIB = 1 << 30

# What fits to the byte, and what lacks one
answer = run("recommend", path, "--memory", "100G", "--ctx", "8192")
types = answer["types"]
holds("for llama.cpp", answer["program"] == "llama.cpp" and not any(t["unpacked"] for t in types))
holds("all fit in 100 GB", answer["recommended"]["type"] == "Q8_0" and answer["next_better"] is None)
for i, t in enumerate(types):
    need = t["run_memory"]
    holds(f"{t['type']}: the sum", need["total_bytes"] == need["weights_bytes"] + need["kv_cache_bytes"] + need["overhead_bytes"])
    holds(f"{t['type']}: a fifth", need["with_margin_bytes"] == need["total_bytes"] + need["total_bytes"] // 5)
    better = [b for b in types[:i] if b["run_memory"]["with_margin_bytes"] <= need["with_margin_bytes"]]
    exact = run("recommend", path, "--memory", str(need["with_margin_bytes"]), "--ctx", "8192")
    holds(f"{t['type']} fits to the byte", exact["types"][i]["fits"] and
          exact["recommended"]["type"] == (better[0] if better else t)["type"])
    less = run("recommend", path, "--memory", str(need["with_margin_bytes"] - 1), "--ctx", "8192", status=0 if better or i + 1 < len(types) and min(
        o["run_memory"]["with_margin_bytes"] for o in types) < need["with_margin_bytes"] else 4)
    holds(f"{t['type']} lacks a byte", not less["types"][i]["fits"] and less["types"][i]["missing_bytes"] == 1)

# Folders, for the programs that load them: all measured types of theirs, the best first, with the sizes of an estimate
MIB, model = 1 << 20, "examples/model"
lists = {name: run("recommend", model, "--for", name, "--memory", "8G", "--ctx", "512") for name in ("transformers", "vLLM")}
known = json.loads(subprocess.run([program, "types", "--json"], capture_output=True, check=True).stdout)["schemes"]
for name, there in lists.items():
    mine = there["types"]
    holds(f"{name}: every scheme that it loads", {t["type"].split(":")[0] for t in mine} == {k["name"] for k in known if name in k["loaders"]})
    holds(f"{name}: by loss", [t["measured"]["divergence"] for t in mine] == sorted(t["measured"]["divergence"] for t in mine))
    holds(f"{name}: the best of those that fit", there["recommended"]["type"] == next(t["type"] for t in mine if t["fits"]))
    holds(f"{name}: how memory is counted is told", any(f"for {name}" in r for r in there["reasons"]))
    made = run("estimate", model, "-t", ",".join(t["type"] for t in mine))["outputs"]
    holds(f"{name}: sizes", [o["size_bytes"] for o in made] == [t["size_bytes"] for t in mine])
    for t, o in zip(mine, made):
        need, matrix = t["run_memory"], [x for x in o["tensors"] if "scheme" in x]
        packed = sum(x["bytes"] for x in o["tensors"])
        floats = packed + sum(2 * x["shape"][0] * x["shape"][1] - x["bytes"] for x in matrix)
        # floats in place of the codes, and the scales beside them
        least, most = (floats, floats + floats // 20) if t["unpacked"] else (packed, packed)
        holds(f"{name}, {t['type']}: weights", least <= need["weights_bytes"] <= most)
        holds(f"{name}, {t['type']}: bits of what is stored", abs(t["bits_per_weight"] - o["bits_per_weight"]) < 1e-3)
        holds(f"{name}, {t['type']}: keys and values in 16 bits", need["kv_cache_bytes"] == 8 * 512 * 2 * 2 * 32 * 2)
        stage = (3 * 768 + 4 * 256) * 2
        largest = 0 if t["unpacked"] else max(2 * x["shape"][0] * x["shape"][1] for x in matrix)
        overhead = 512 * stage + 2 * 4096 * 4 + largest + 512 * MIB if name == "transformers" else 2048 * stage + 256 * 24 * 4096 + 1024 * MIB
        holds(f"{name}, {t['type']}: the rest", need["overhead_bytes"] == overhead)
        holds(f"{name}, {t['type']}: no offload", t["beside_gpu_bytes"] == 0 and "offload" not in t)
unpacked = {t["type"]: t["unpacked"] for t in lists["transformers"]["types"]}
holds("transformers unpacks compressed-tensors", unpacked["w4a16"] and unpacked["fp8"] and not unpacked["nf4"] and not unpacked["gptq"])
holds("vLLM unpacks nothing", not any(t["unpacked"] for t in lists["vLLM"]["types"]))
for t in lists["transformers"]["types"]:
    need = t["run_memory"]["with_margin_bytes"]
    holds(f"{t['type']} fits to the byte", next(o for o in run("recommend", model, "--for", "transformers", "--memory", str(need), "--ctx", "512")["types"]
                                                if o["type"] == t["type"])["fits"])
none = run("recommend", model, "--for", "vllm", "--memory", "64M", "--ctx", "512", status=4)
holds("nothing fits", none["recommended"] is None and none["offload"] is None and any("even the smallest" in r for r in none["reasons"]))
there = run("recommend", path, "--for", "vllm", "--memory", "64G")
holds("a GGUF file becomes a folder, too", there["recommended"]["type"] == "gptq:bits=8" and there["not_possible"] == [])

# Sizes are those of an estimate; six layers of 8 x 128 keys and values, 8192 cells, two bytes each
sizes = {o["type"]: o for o in run("estimate", path, "-t", "Q4_K_M,Q8_0,Q2_K", "--ctx", "8192")["outputs"]}
for t in types:
    if t["type"] in sizes:
        holds(f"{t['type']}: the estimate's size", sizes[t["type"]]["size_bytes"] == t["size_bytes"])
        holds(f"{t['type']}: the estimate's memory", sizes[t["type"]]["run_memory"] == t["run_memory"])
holds("the cache", types[0]["run_memory"]["kv_cache_bytes"] == 6 * 8192 * 2 * 8 * 128 * 2)

# A card: the embedding stays outside. In Q8_0 it is 4096 x 128256 weights of 34 bytes for 32
card = run("recommend", path, "--gpu", "RTX 3060", "--ctx", "8192")
q8 = card["types"][0]
embedding = 4096 * 128256 // 32 * 34
holds("a card's memory", card["place"]["memory_bytes"] == 12 * GIB and card["place"]["bandwidth_bytes_per_second"] == 360e9)
holds("the embedding is beside", q8["beside_gpu_bytes"] == embedding and
      q8["run_memory"]["weights_bytes"] == sizes["Q8_0"]["run_memory"]["weights_bytes"] - embedding)
bound = 360e9 / (q8["run_memory"]["weights_bytes"] + q8["run_memory"]["kv_cache_bytes"])
holds("the bound on speed", abs(q8["tokens_per_second_at_most"] / bound - 1) < 0.01)
two = run("recommend", path, "--gpu", "RTX 3060", "--gpu-count", "2")
holds("two cards", two["place"]["memory_bytes"] == 24 * GIB and
      two["types"][0]["run_memory"]["overhead_bytes"] == 2 * q8["run_memory"]["overhead_bytes"])
shared = run("recommend", path, "--gpu", "M1", "--memory", "16Gi")
holds("a chip has two thirds", shared["place"]["memory_bytes"] == 16 * GIB // 3 * 2 and "ram_bytes" not in shared["place"])

# Part of the layers: counted again from the tensors of an estimate
ctx = 98304
part = run("recommend", path, "--gpu", "GTX 1650", "--ctx", str(ctx), "--memory", "64G")
tensors = run("estimate", path, "-t", "Q4_K_M", "--ctx", str(ctx))["outputs"][0]["tensors"]
q4 = next(t for t in part["types"] if t["type"] == "Q4_K_M")
cache = q4["run_memory"]["kv_cache_bytes"] // 6
used, left, layers = q4["run_memory"]["overhead_bytes"], sum(t["bytes"] for t in tensors) + 6 * cache, 0
for layer in range(5, -1, -1):
    more = cache + sum(t["bytes"] for t in tensors if t["name"].startswith(f"blk.{layer}."))
    if (used + more) * 6 // 5 > 4 * GIB:
        break
    used, left, layers = used + more, left - more, layers + 1
rest = left + q4["run_memory"]["overhead_bytes"]
holds("layers on the card", not q4["fits"] and q4["offload"] == {"gpu_layers": layers, "layers": 6, "ram_bytes": rest + rest // 5})
small = run("recommend", path, "--gpu", "GTX 1650", "--ctx", "131072", "--memory", "64G", status=4)
holds("nothing fits, some layers do", small["recommended"] is None and small["offload"]["type"] == "Q4_K_M")
none = run("recommend", path, "--gpu", "GTX 1650", "--ctx", "131072", "--memory", "1M", status=4)
holds("and with no memory beside it none", none["recommended"] is None and none["offload"] is None)

holds("a context beyond what it was trained on is told", not any("trained on" in r for r in small["reasons"]) and
      any("trained on 131072" in r for r in run("recommend", path, "--memory", "1T", "--ctx", "131073")["reasons"]))

# Experts: of 128 a token reads 8
shapes.write(path, *shapes.SHAPES["Qwen3-30B-A3B"])
moe = run("recommend", path, "--gpu", "RTX 4090")["types"][0]
tensors = run("estimate", path, "-t", "Q8_0")["outputs"][0]["tensors"]
active = sum(t["bytes"] * (8 if "_exps." in t["name"] else 128) // 128 for t in tensors if t["name"] != "token_embd.weight")
bound = 1008e9 / (active + moe["run_memory"]["kv_cache_bytes"])
holds("a mixture's speed", abs(moe["tokens_per_second_at_most"] / bound - 1) < 0.01)

# More files than a split can have are refused, whoever asks
with open(path, "wb") as f:
    names = [f"blk.0.x{i}.weight" for i in range(65537)]
    f.write(struct.pack("<4sIQQ", b"GGUF", 3, len(names), 1) + struct.pack("<Q", 20) + b"general.architecture" + struct.pack("<IQ", 8, 5) + b"llama")
    for i, name in enumerate(names):
        f.write(struct.pack("<Q", len(name)) + name.encode() + struct.pack("<IQIQ", 1, 8, 0, 32 * i))
    f.truncate((f.tell() + 31) // 32 * 32 + 32 * len(names))
run("estimate", path, "-t", "F32", "--split-max-tensors", "1", status=3)
run("recommend", path, "--memory", "1G", status=3)
sys.exit(1 if failures else 0)
PYTHON
finish
