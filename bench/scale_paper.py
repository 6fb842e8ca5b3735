#!/usr/bin/env python3
"""On paper: how long a model takes to become several formats on many workers, how many bytes move, and what holds it up.

    bench/scale_paper.py [--weights 405e9] [--types Q4_K_M,…] [--workers 1,8,64] [--cores 16] [--link 3.1] [--share 10] [--rate SCALE]

The job is divided as `serve --task-size` does it: each worker reads its tensors of the source and writes its parts to a shared folder; one
worker then takes the parts, writes the outputs and reads them back; the service reads them once more before it publishes. A stage
takes as long as its slowest resource: processors, a worker's link (GB/s each way), the shared folder (GB/s for all together).
Only the rates of the encoders are measured: --rate scales them for other processors."""
import argparse

# Bits a weight of the whole file, and 1e6 weights a second of one core, with reading and hashes: processor seconds of `halftone quantize
# examples/model --threads 1` on a Xeon with AMX, without the 0.02 s that every run begins with. README has 134 for Q4_K_M, of a larger model.
TYPES = {"Q3_K_M": (3.91, 160), "IQ4_XS": (4.32, 135), "Q4_K_M": (4.85, 135), "Q5_K_M": (5.69, 116), "Q6_K": (6.57, 135), "Q8_0": (8.50, 400)}
HASH = 1.5  # GB/s of one core, SHA-256 with the processor's instructions


def stage(name, work, link, share, workers, a):
    """(seconds, what holds it up). work: core seconds; link: GB through one worker's link at most; share: GB through the shared folder."""
    times = {"processors": work / (a.cores * workers), "a worker's link": link / a.link, "the shared folder": share / a.share}
    slowest = max(times, key=times.get)
    return name, times[slowest], slowest


def plan(workers, a):
    types = a.types.split(",")
    source = a.weights * 2 / 1e9
    outputs = sum(a.weights * TYPES[t][0] / 8 / 1e9 for t in types)
    encode = sum(a.weights / (TYPES[t][1] * 1e6 * a.rate) for t in types)
    parts = stage("parts", encode, max(source, outputs) / workers, source + outputs, workers, a)
    # read the parts and write the outputs, read them back and check: each byte passes the link twice inwards, once outwards
    assembly = stage("putting together", 2 * outputs / HASH, 2 * outputs, 3 * outputs, 1, a)
    publishing = stage("publishing", outputs / HASH * a.cores, outputs, outputs, 1, a)  # hashes one file after another: one core
    return [parts, assembly, publishing], source, outputs, source + outputs + 3 * outputs + outputs


def hours(seconds):
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--weights", type=float, default=405e9)
    p.add_argument("--types", default=",".join(TYPES))
    p.add_argument("--workers", default="1,8,64")
    p.add_argument("--cores", type=int, default=16)
    p.add_argument("--link", type=float, default=3.1, help="GB/s: 25 Gbit/s")
    p.add_argument("--share", type=float, default=10, help="GB/s")
    p.add_argument("--rate", type=float, default=1, help="times the encoders' rates")
    a = p.parse_args()
    print("| workers | parts | held up by | putting together | held up by | publishing | held up by | all |\n|---|---|---|---|---|---|---|---|")
    for workers in map(int, a.workers.split(",")):
        stages, source, outputs, moved = plan(workers, a)
        print(f"| {workers} | " + " | ".join(f"{hours(s)} | {what}" for _, s, what in stages) + f" | {hours(sum(s for _, s, _ in stages))} |")
    print(f"\nsource {source:.0f} GB, outputs {outputs:.0f} GB, moved {moved / 1000:.1f} TB")


if __name__ == "__main__":
    main()
