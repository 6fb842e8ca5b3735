#!/usr/bin/env python3
"""Writes tests/golden/models.txt: the configuration and the tensors, by name, type and shape, of a tiny model of
every architecture as transformers saves it. tests/hostile/test_hostile_models.c damages them.

    tests/parity/list_models.py > tests/golden/models.txt
"""
import json
import os
import struct
import tempfile

import check_arch

SAME_TENSORS = ("-window", "-rope", "-yarn", "-long", "-linear-rope")
LEFT_OUT = ("transformers_version", "dtype", "id2label", "label2id", "vision_config")


def header(path):
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(size))


def main():
    print("# Made by tests/parity/list_models.py. model NAME, config JSON, then NAME TYPE SHAPE of each tensor.")
    for name, (kind, arguments, *options) in check_arch.MODELS.items():
        if name.endswith(SAME_TENSORS):
            continue
        text = arguments.get("text_config", arguments)
        text["n_layer" if "n_layer" in text else "num_hidden_layers"] = 2
        with tempfile.TemporaryDirectory() as work:
            folder = os.path.join(work, "model")
            check_arch.wanted_logits(name, folder, [1])
            with open(os.path.join(folder, "config.json")) as file:
                config = {k: v for k, v in json.load(file).items() if k not in LEFT_OUT}
            print("model", name)
            print("config", json.dumps(config))
            for tensor, entry in sorted(header(os.path.join(folder, "model.safetensors")).items()):
                if tensor != "__metadata__" and not tensor.startswith("vision_tower.encoder."):
                    print(tensor, entry["dtype"], ",".join(map(str, entry["shape"])))


if __name__ == "__main__":
    main()
