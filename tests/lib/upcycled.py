#!/usr/bin/env python3
"""A mixture of experts made of a dense Llama folder: every expert is the layer's feed-forward, and routers are random, so that the
model says what the dense one says while its experts see different tokens.

    upcycled.py FOLDER OUT [experts] [used] [layers]
"""
from __future__ import annotations

import json
import pathlib
import random
import shutil
import struct
import sys

NAMES = {"gate": "w1", "down": "w2", "up": "w3"}


def read(path: pathlib.Path) -> dict[str, tuple[str, list[int], bytes]]:
    data = path.read_bytes()
    n = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
            for name, t in header.items()}


def write(path: pathlib.Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def router(experts: int, width: int, shy: bool, rng: random.Random) -> tuple[str, list[int], bytes]:
    """The last expert is sent hardly a token where it is shy: its row is nearly nothing beside the others'."""
    values = [rng.gauss(0, .2) * (.02 if shy and row == experts - 1 else 1) for row in range(experts) for _ in range(width)]
    return "F32", [experts, width], struct.pack(f"<{len(values)}f", *values)


def main() -> None:
    source, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    config = json.loads((source / "config.json").read_text())
    given = [int(n) for n in sys.argv[3:]]
    experts, used, layers = (given + [4, 2, config["num_hidden_layers"]][len(given):])[:3]
    width, rng, tensors = config["hidden_size"], random.Random(1), {}
    for name, tensor in read(source / "model.safetensors").items():
        if name.startswith("model.layers.") and int(name.split(".")[2]) >= layers:
            continue
        before, dot, part = name.partition(".mlp.")
        if not dot:
            tensors[name] = tensor
            continue
        which = NAMES[part.removesuffix("_proj.weight")]
        tensors |= {f"{before}.block_sparse_moe.experts.{e}.{which}.weight": tensor for e in range(experts)}
        if which == "w1":
            tensors[f"{before}.block_sparse_moe.gate.weight"] = router(experts, width, experts > 4, rng)
    config |= {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": experts,
               "num_experts_per_tok": used, "num_hidden_layers": layers}
    out.mkdir(parents=True)
    for file in source.iterdir():
        if file.is_file() and file.suffix in (".json", ".model", ".txt", ".jinja") and file.name not in ("config.json",):
            shutil.copy(file, out / file.name)
    (out / "config.json").write_text(json.dumps(config))
    write(out / "model.safetensors", tensors)


if __name__ == "__main__":
    main()
