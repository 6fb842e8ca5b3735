#!/usr/bin/env python3
"""Files that we wrote, through PyPI's gguf: metadata, names, shapes, types, offsets and bytes must be what
`inspect --json --tensors` says, for every mix, whole and split; and ht_decode_rows must give gguf.dequantize's
numbers for every type, on rows that we encoded and on the files' own tensors.

Environment: HT_CLI, HT_BUILD (folder of libhalftone.so). Exit status: 0 passed, 1 failed, 77 skipped.
"""
import ctypes
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import converter  # noqa: F401 (its gguf is the newest)
    import gguf
    import numpy as np
except ImportError as missing:
    print(f"SKIPPED check_readback: the Python package {missing.name} is not here")
    sys.exit(77)

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import reports  # noqa: E402
from importance import write_importance

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLI = os.environ.get("HT_CLI", str(ROOT / "build" / "halftone"))
MODEL = ROOT / "examples" / "model"
UNREAD = {"Q1_0", "Q2_0"} - set(t.name for t in gguf.GGMLQuantizationType)  # types that the package does not know
FLOATS = ("FLOAT32", "FLOAT64")
SHOWN = 8  # elements of an array that inspect shows

lib = ctypes.CDLL(os.path.join(os.environ.get("HT_BUILD", str(ROOT / "build")), "libhalftone.so"))
lib.ht_row_size.restype = ctypes.c_size_t
lib.ht_row_size.argtypes = [ctypes.c_char_p, ctypes.c_int64]
lib.ht_encode_rows.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
                               ctypes.c_int, ctypes.c_void_p]
lib.ht_decode_rows.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int,
                               ctypes.c_void_p]


def run(*arguments):
    done = subprocess.run([CLI, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, arguments))}: {done.stderr.strip()}")
    report = reports.of_output(done.stdout)
    if report and reports.errors(report):
        raise RuntimeError(f"{' '.join(map(str, arguments))}: {reports.errors(report)}")
    return done.stdout


def same_value(kind, theirs, ours):
    if kind in FLOATS:
        return np.float32(theirs) == np.float32(ours)
    return theirs == ours


OUR_KINDS = {"STRING": "str", "INT32": "i32", "UINT32": "u32", "FLOAT32": "f32", "BOOL": "bool", "UINT8": "u8", "INT8": "i8",
             "UINT16": "u16", "INT16": "i16", "UINT64": "u64", "INT64": "i64", "FLOAT64": "f64"}


def compare_metadata(reader, metadata):
    """Every pair in order; of arrays kind, length and beginning."""
    fields = [f for f in reader.fields.values() if not f.name.startswith("GGUF.")]
    if [f.name for f in fields] != list(metadata):
        yield f"keys: {[f.name for f in fields]} and {list(metadata)}"
        return
    for f in fields:
        ours, kind = metadata[f.name], f.types[-1].name
        if f.types[0] != gguf.GGUFValueType.ARRAY:
            if not same_value(kind, f.contents(), ours):
                yield f"{f.name}: {f.contents()!r} and {ours!r}"
            continue
        theirs = f.contents()
        if ours["array"] != OUR_KINDS[kind] or ours["length"] != len(theirs):
            yield f"{f.name}: {kind} x {len(theirs)} and {ours['array']} x {ours['length']}"
        elif not all(same_value(kind, a, b) for a, b in zip(theirs, ours["first"])) or \
                len(ours["first"]) != min(SHOWN, len(theirs)):
            yield f"{f.name}: {theirs[:SHOWN]} and {ours['first']}"


def compare_tensors(reader, path, tensors):
    data = np.memmap(path, np.uint8, "r")
    if [t.name for t in reader.tensors] != [t["name"] for t in tensors]:
        yield "the tensors' names"
        return
    for theirs, ours in zip(reader.tensors, tensors):
        seen = (theirs.tensor_type.name.lower(), [int(n) for n in theirs.shape][::-1], int(theirs.n_bytes), int(theirs.data_offset))
        said = (ours["type"], ours["shape"], ours["bytes"], ours["offset"])
        if seen != said:
            yield f"{theirs.name}: {seen} and {said}"
        elif theirs.data.tobytes() != data[said[3]:said[3] + said[2]].tobytes():
            yield f"{theirs.name}: other bytes"


def decoded(name, data, n_rows, n):
    out = np.zeros((n_rows, n), np.float32)
    if lib.ht_decode_rows(name.encode(), np.ascontiguousarray(data).ctypes.data, n_rows, n, 1, out.ctypes.data) != 0:
        raise RuntimeError(f"{name}: ht_decode_rows failed")
    return out


def dequantized(t):
    """A whole tensor by the package, or nothing where it cannot."""
    try:
        return gguf.dequantize(t.data, t.tensor_type)
    except NotImplementedError:
        return None


def compare_decoded(reader):
    """The first matrix of each type."""
    seen = set()
    for t in reader.tensors:
        if t.tensor_type in seen or len(t.shape) < 2:
            continue
        seen.add(t.tensor_type)
        theirs = dequantized(t)
        if theirs is None:
            continue
        ours = decoded(t.tensor_type.name, t.data, int(np.prod(t.shape[1:])), int(t.shape[0]))
        if not np.array_equal(theirs.reshape(ours.shape).view(np.uint32), ours.view(np.uint32)):
            yield f"{t.name} ({t.tensor_type.name}): {np.count_nonzero(theirs.reshape(ours.shape) != ours)} weights decode differently"


def compare_file(path, report):
    """One file with what is said of it."""
    reader = gguf.GGUFReader(path)
    own = [t for t in report["tensors"] if t["file"] == path.name]
    if "metadata" in report:
        yield from compare_metadata(reader, report["metadata"])
    yield from compare_tensors(reader, path, own)
    yield from compare_decoded(reader)


def check_output(name, paths):
    report = json.loads(run("inspect", paths[0], "--json", "--tensors"))
    faults = []
    if len(report["tensors"]) != report["tensor_count"]:
        faults.append("not every tensor is listed")
    for i, path in enumerate(paths):
        faults += [f"{path.name}: {fault}" for fault in compare_file(path, report)]
        if i == 0:
            report.pop("metadata")  # of the first file; the others have split.* alone
        else:
            keys = [f for f in gguf.GGUFReader(path).fields if not f.startswith("GGUF.")]
            if sorted(keys) != ["split.count", "split.no", "split.tensors.count"]:
                faults.append(f"{path.name}: {keys}")
    print(f"{'FAILED' if faults else 'ok':7}{name}: {len(paths)} files, {len(report['tensors'])} tensors", flush=True)
    for fault in faults[:5]:
        print("      ", fault)
    return not faults


def check_type(t):
    """Random rows there and back again; denormal, large and zero blocks among them."""
    rng = np.random.default_rng(11)
    n, n_rows = 1024, 64
    if t["name"].upper() in UNREAD or t["name"].upper() not in gguf.GGMLQuantizationType.__members__:
        print(f"left  {t['name']}: the package does not know it")
        return True
    x = rng.standard_normal((n_rows, n)).astype(np.float32) * np.logspace(-6, 3, n_rows, dtype=np.float32)[:, None]
    x[3] = 0
    x[5, ::2] = 0
    data = np.zeros((n_rows, lib.ht_row_size(t["name"].encode(), n)), np.uint8)
    ones = np.ones(n, np.float32)
    if lib.ht_encode_rows(t["name"].encode(), x.ctypes.data, n_rows, n, ones.ctypes.data, 1, data.ctypes.data) != 0:
        print(f"FAILED {t['name']}: ht_encode_rows")
        return False
    kind = gguf.GGMLQuantizationType[t["name"].upper()]
    try:
        theirs = gguf.dequantize(data, kind)
    except NotImplementedError:
        print(f"left  {t['name']}: the package does not decode it")
        return True
    ours = decoded(t["name"], data, n_rows, n)
    differ = int(np.count_nonzero(np.ascontiguousarray(theirs, np.float32).view(np.uint32) != ours.view(np.uint32)))
    print(f"{'FAILED' if differ else 'ok':7}{t['name']}: {differ} of {ours.size} decoded weights differ", flush=True)
    return differ == 0


def main():
    listed = json.loads(run("types", "--json"))
    names = [m["name"] for m in listed["mixes"] if m["name"] not in UNREAD]
    good = [check_type(t) for t in listed["types"]]
    with tempfile.TemporaryDirectory(prefix="halftone-readback-") as work:
        work = pathlib.Path(work)
        run("convert", MODEL, "-t", "F32", "-o", work / "f32.gguf", "--quiet")
        write_importance(work / "importance.gguf", work / "f32.gguf")
        run("quantize", MODEL, "-t", ",".join(names), "-o", work / "all", "--imatrix", work / "importance.gguf", "--quiet")
        for name in names:
            good.append(check_output(name, [work / "all" / f"model-{name}.gguf"]))
        run("quantize", MODEL, "-t", "Q4_K_M", "-o", work / "split", "--split-max-size", "1M", "--quiet")
        run("quantize", MODEL, "-t", "Q8_0", "-o", work / "tensors", "--split-max-tensors", "7", "--quiet")
        good.append(check_output("Q4_K_M split by size", sorted((work / "split").glob("*.gguf"))))
        good.append(check_output("Q8_0 split by tensors", sorted((work / "tensors").glob("*.gguf"))))
    print(f"check_readback: {sum(good)} of {len(good)} passed")
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
