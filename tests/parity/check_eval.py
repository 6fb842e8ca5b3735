#!/usr/bin/env python3
"""What `halftone eval` measures against the real llama.cpp, on files that we quantize. Two comparisons:
  * the files decoded to F32 by our reader and run by llama.cpp: perplexity, divergence and agreement, worked out
    from its logits in double, must be ours of the exact path, weights decoded and activations in float (0.01 %,
    0.1 %, 0.1 points);
  * llama.cpp's own ladder on the quantized files, where it rounds activations to eight bits: with --fast, which rounds
    them likewise, perplexity within 0.1 %, divergence within 2 %, agreement within 0.3 points.
Environment: HT_CLI, HT_SHARED, HT_LLAMA_LIB. Exit status: 0 passed, 1 failed, 77 skipped.
"""
import json
import os
import subprocess
import sys
import tempfile

SHARED = os.environ.get("HT_SHARED", "../shared")
MODEL, TEXT = f"{SHARED}/models/prose-5.8m", f"{SHARED}/corpora/prose-eval.txt"
STORIES = f"{SHARED}/corpora/tinystories_1000.txt"
try:
    import numpy as np
except ImportError:
    print("SKIPPED check_eval: numpy is not here")
    sys.exit(77)
if "HT_LLAMA_LIB" not in os.environ or not os.path.exists(TEXT):
    print("SKIPPED check_eval: HT_LLAMA_LIB is not set, or the model and text to measure are not here")
    sys.exit(77)

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import reports  # noqa: E402
from llama_logits import Llama  # noqa: E402

CLI = os.environ.get("HT_CLI", "build/halftone")
CTX, CHUNKS, N_VOCAB = 256, 16, 2048
# type: perplexity, divergence, same top (%) without importance; divergence, same top with it; 200 chunks
LADDER = {
    "Q8_0": (27.2327, .000110, 99.04, .000110, 99.04),
    "Q6_K": (27.2498, .000634, 97.74, .000624, 97.71),
    "Q5_K_M": (27.2743, .001256, 97.03, .001189, 97.19),
    "Q4_K_M": (27.3543, .003646, 94.84, .003499, 94.96),
    "Q4_0": (27.3853, .005261, 94.23, .004700, 94.34),
    "IQ4_XS": (27.3732, .004524, 94.34, .004294, 94.89),
    "Q3_K_M": (27.6141, .011744, 91.39, .011285, 91.54),
    "IQ3_M": (27.7390, .019551, 88.88, .014163, 90.37),
    "Q2_K": (28.6028, .050415, 82.97, .044892, 84.06),
}
WHOLE = os.environ.get("HT_PARITY_WHOLE") == "1"  # every rung: many minutes
failures = 0


def check(what, good, detail):
    global failures
    failures += not good
    if not good or WHOLE:
        print(f"{'ok  ' if good else 'FAIL'} {what}: {detail}")


def near(what, ours, theirs, share):
    check(what, abs(ours - theirs) <= share * abs(theirs), f"{ours:.7g}, not {theirs:.7g} within {100 * share:g} %")


def run(*args):
    done = subprocess.run([CLI, *args, "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"FAIL halftone {' '.join(args)}: {done.stderr or done.stdout}")
        sys.exit(1)
    wrong = reports.errors(reports.of_output(done.stdout))
    if wrong:
        check("the report's schema", False, wrong)
    return json.loads(done.stdout.strip().split("\n")[-1])


def token_ids():
    text = subprocess.run([CLI, "tokenize", MODEL, "--text", TEXT, "--around"], capture_output=True, text=True, check=True)
    return [int(word) for word in text.stdout.split()]


def statistics(scored, base, targets):
    """From logits in double: mean negative log-likelihood, mean divergence, agreement."""
    def log_softmax(x):
        x = x.astype(np.float64)
        x -= x.max(axis=1, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    q, p = log_softmax(scored), log_softmax(base)
    nll = -q[np.arange(len(targets)), targets].mean()
    return np.exp(nll), (np.exp(p) * (p - q)).sum(axis=1).mean(), (q.argmax(axis=1) == p.argmax(axis=1)).mean()


def against_logits(work, files):
    """Decoded by us, run by llama.cpp, worked out here."""
    ids = token_ids()[:CTX * CHUNKS]
    chunks = [[1] + ids[i * CTX + 1:(i + 1) * CTX] for i in range(CHUNKS)]
    targets = np.concatenate([np.array(c[CTX // 2 + 1:]) for c in chunks])
    llama = Llama(os.environ["HT_LLAMA_LIB"])

    def scored(path):
        return np.concatenate([x[CTX // 2:CTX - 1] for x in llama.chunks(path, chunks, N_VOCAB)])

    base = scored(f"{work}/f32.gguf")
    report = run("eval", *files, "--text", TEXT, "--ctx", str(CTX), "--chunks", str(CHUNKS), "--against", f"{work}/f32.gguf")
    for path, ours in zip(files, report["models"]):
        run("convert", path, "-t", "F32", "-o", f"{work}/decoded.gguf", "--allow-requantize", "--overwrite")
        ppl, kld, same = statistics(scored(f"{work}/decoded.gguf"), base, targets)
        name = os.path.basename(path)
        near(f"{name}: perplexity", ours["perplexity"], ppl, .0001)
        near(f"{name}: divergence", ours["kld"]["mean"], kld, .001)
        check(f"{name}: agreement", abs(ours["top1_agreement"] - same) <= .001, f"{ours['top1_agreement']}, not {same}")


def ladder(work, types):
    """llama.cpp's own figures, with activations rounded as it rounds them: one run, for the reference's sake."""
    files = [(t, importance) for importance in (False, True) for t in types]
    paths = [f"{work}/{'i' if importance else 'n'}-{t}.gguf" for t, importance in files]
    report = run("eval", *paths, "--text", TEXT, "--ctx", str(CTX), "--chunks", "200", "--against", f"{work}/f32.gguf", "--fast")
    near("F32: perplexity", report["reference"]["perplexity"], 27.2320, 2e-6)
    for (t, importance), ours in zip(files, report["models"]):
        ppl, kld, same = LADDER[t][0], *(LADDER[t][3:] if importance else LADDER[t][1:3])
        name = t + (" with importance" if importance else "")
        if not importance:
            near(f"{name}: perplexity", ours["perplexity"], ppl, .001)
        near(f"{name}: divergence", ours["kld"]["mean"], kld, .02)
        check(f"{name}: agreement", abs(100 * ours["top1_agreement"] - same) <= .3,
              f"{100 * ours['top1_agreement']:.2f}, not {same:.2f}")


def stories():
    for name, wanted in ("stories260K", 6.91), ("babyllama-tok361", 2.81):
        r = run("eval", f"{SHARED}/models/gguf/{name}.f32.gguf", "--text", STORIES, "--ctx", "256", "--chunks", "40", "--quiet")
        check(name, abs(r["perplexity"] - wanted) <= .005, f"perplexity {r['perplexity']}, not {wanted}")


def itself(work):
    r = run("eval", f"{work}/n-Q4_K_M.gguf", "--text", TEXT, "--ctx", "256", "--chunks", "4", "--against", f"{work}/n-Q4_K_M.gguf",
            "--retention", "8")
    kept = r["kld"]["max"] == r["kld"]["min"] == 0 and r["top1_agreement"] == 1 and r["perplexity_ratio"] == 1
    check("a model against itself", kept and r["retention"]["share"] == 1, json.dumps(r["kld"]))


def main():
    types = list(LADDER) if WHOLE else ["Q8_0", "Q4_K_M", "IQ3_M", "Q2_K"]
    with tempfile.TemporaryDirectory() as work:
        run("convert", MODEL, "-t", "F32", "-o", f"{work}/f32.gguf")
        for t in types:
            run("quantize", MODEL, "-t", t, "-o", f"{work}/n-{t}.gguf")
            run("quantize", MODEL, "-t", t, "-o", f"{work}/i-{t}.gguf", "--imatrix", f"{MODEL}/imatrix.gguf")
        stories()
        itself(work)
        against_logits(work, [f"{work}/{k}-{t}.gguf" for t in types for k in "ni"])
        ladder(work, types)
    print("eval: " + ("as llama.cpp measures" if not failures else f"{failures} differences"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
