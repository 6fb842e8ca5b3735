#!/usr/bin/env python3
"""The layers of a PyTorch model, quantized one by one, kept in a cache and put back. It needs PyTorch and transformers.

    python layers.py [MODEL] [FOLDER]
"""
import sys

import torch
from halftone.sli.layer_cache import LayerCache
from halftone.sli.quantization import LayerQuantizer, get_mixed_precision_config
from transformers import AutoModelForCausalLM

path, folder = (sys.argv[1:] + ["examples/model", "out/python/layers"][len(sys.argv) - 1 :])[:2]
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
ids = torch.arange(1, 33)[None]
with torch.no_grad():
    before = model(ids).logits
    quantized = get_mixed_precision_config().quantize_model(model)
    cache = LayerCache(cache_dir=folder, max_cache_size_gb=1.0)
    for i, layer in enumerate(quantized.model.layers):
        cache.cache_layer(model_id=path, layer_index=i, layer=layer)
    for i, layer in enumerate(model.model.layers):
        model.model.layers[i] = cache.get_layer(path, i, template=layer)
    after = model(ids).logits
same = (before.argmax(-1) == after.argmax(-1)).float().mean().item()
ratio = LayerQuantizer().get_quantized_size_ratio(model)
print(f"{ratio:.3f} of the float32 weights' size; the same token is likeliest at {100 * same:.0f} % of the places")
print(cache.stats())
