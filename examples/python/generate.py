#!/usr/bin/env python3
"""A text, as it is made.

    python generate.py [MODEL] [TEXT]
"""
import sys

import halftone

path, prompt = (sys.argv[1:] + ["examples/model", "Once upon a time"][len(sys.argv) - 1 :])[:2]
with halftone.Model(path) as model:
    text = model.generate(prompt, 60, temperature=0.7, seed=1)
    print(prompt, end="")
    for piece in text:
        print(piece, end="", flush=True)
    stats = text.stats
    print(f"\n[{stats['new_tokens']} tokens, {stats['new_tokens'] / stats['seconds']:.0f} a second, ended by {stats['reason']}]")
