#!/usr/bin/env python3
"""Reports of every verb and kind are as doc/report.schema.json says; each of them that is changed in one place is not;
every member that the schema describes is in one of them; every number has a unit. tests/cli/reports.py HALFTONE"""
import copy
import itertools
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "hub")]
import fake_hub  # noqa: E402
import reports  # noqa: E402
import shapes  # noqa: E402

PROGRAM = os.path.abspath(sys.argv[1])
MODEL = str(HERE.parent.parent / "examples" / "model")
UNITS = {"bytes", "seconds", "count", "tokens", "per_second", "bytes_per_second", "bits", "ratio", "share", "any_ratio", "nats",
         "probability", "index", "activation"}
# Importance from files in the hub's cache, or of experts that no token reached.
RARE = {"/$defs/recipe/imatrix_sha256_from", "/$defs/recipe/calibration_sha256", "/$defs/recipe/calibration_sha256_from",
        "/$defs/recipe/calibration_stats_sha256_from",
        "/$defs/unreached/tensor", "/$defs/unreached/of", "/$defs/unreached/experts", "/$defs/kept_site/matrices_without_rows"}
FORMS = {"quantize": "quantize", "convert": "quantize", "estimate": "quantize", "eval": "eval", "compare": "eval",
         "imatrix": "imatrix", "calibrate": "calibrate", "inspect": "inspect", "recommend": "recommend"}
failures = 0


def fail(text):
    global failures
    failures += 1
    print("FAILED", text)


# ---- reports of all kinds ----

def run(*arguments, status=0, env=None):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, env=env)
    if done.returncode != status:
        raise SystemExit(f"FAILED halftone {' '.join(map(str, arguments))}: {done.returncode}, {done.stderr}")
    return reports.of_output(done.stdout)


def make_of_files(at):
    text, tasks, file, other = at / "text", at / "tasks", at / "report.json", at / "chat.jsonl"
    text.write_text("Some words of a text that is long enough to measure on.\n" * 60)
    other.write_text('{"messages": [{"role": "user", "content": "Is this a question?"}]}\n' * 60)
    tasks.write_text('{"context": "one two three", "choices": ["four five", "zzqx"], "answer": 0}\n')
    few = ("--text", text, "--ctx", 64, "--chunks", 2, "--threads", 2)
    yield run("convert", MODEL, "-t", "F32", "-o", at / "f32.gguf", "--json")
    yield run("imatrix", MODEL, "--text", text, "--ctx", 64, "--chunks", 2, "-o", at / "i.gguf", "--memory", "8M", "--json")
    yield run("calibrate", MODEL, "--ctx", 64, "--chunks", 8, "-o", at / "stats", "--json")
    yield run("quantize", MODEL, "-t", "Q4_0", "-o", at / "kept", "--calibration-stats", at / "stats", "--json")
    yield run("quantize", MODEL, "--method", "awq_q4_0", "--calibration-length", 64, "--chunks", 12, "-o", at / "method.gguf", "--json")
    yield run("quantize", MODEL, "-t", "Q8_0,Q2_K", "-o", at, "--measure", *few, "--json")
    yield run("quantize", MODEL, "-t", "nf4", "-o", at / "folder", "--json")
    yield run("quantize", MODEL, "-t", "Q8_0", "-o", at / "part", "--part", "1/3", "--json")
    yield run("quantize", MODEL, "-t", "Q4_0", "-o", at / "collected", "--calibration", "default", "--ctx", 64, "--chunks", 4, "--collect-part", "1/2", "--json")
    yield run("calibrate", MODEL, "--ctx", 64, "--chunks", 8, "-o", at / "some", "--part", "1/2", "--json")
    yield run("eval", MODEL, *few, "-o", at / "passes", "--part", "1/1", "--json")
    yield run("quantize", MODEL, "-t", "w4a16:group=32", "-o", at / "rules", "--rule", "attn_v=w8a16", "--skip-modules", "model.layers.3.mlp.up_proj",
              "--json")
    yield run("quantize", MODEL, "-t", "adaptive", "--max-error", "0.087", "-o", at / "ladder", "--json")
    yield run("quantize", at / "folder/model-nf4", "-t", "Q8_0", "-o", at / "again", "--allow-requantize", "--json")
    run("quantize", MODEL, "-t", "Q2_K", "-o", at / "a", "--imatrix", at / "i.gguf", "--prune-layers", "3", "--report", file,
        "--tensor-type", "ffn_down=q6_k", "--output-tensor-type", "q6_k", "--token-embedding-type", "q5_0",
        "--override-kv", "general.name=str:\"", "--include-weights", "ffn_down.weight", "--include-weights", "attn_v.weight")
    yield file.read_text()
    yield run("quantize", at / "f32.gguf", "-t", "Q4_0", "-o", at / "b", "--calibration", f"{text}:2,{other},default", "--ctx", 64, "--chunks", 12,
              "--calibration-seed", 5, "--json", "--exclude-weights", "output.weight", "--effort", "best")
    subprocess.run([sys.executable, HERE.parent / "lib/upcycled.py", MODEL, at / "moe", "3", "2", "1"], check=True)
    yield run("quantize", at / "moe", "-t", "Q2_K_S", "-o", at / "experts", "--calibration", "default", "--ctx", 64, "--chunks", 12, "--effort", "best", "--json")
    yield run("quantize", MODEL, "-t", "awq_q4_0", "-o", at / "scaled", "--calibration", text, "--ctx", 64, "--chunks", 12, "--json")
    yield run("quantize", MODEL, "--bpw", "4.5", "--budget-time", "1s", "-o", at / "budget", "--calibration", text, "--ctx", 64, "--json")
    yield run("quantize", MODEL, "-t", "gptq", "--bpw", "4", "--budget-time", "1s", "-o", at / "schemes", "--calibration", text, "--ctx", 64, "--json")
    yield run("quantize", MODEL, "-t", "Q4_0", "-o", at / "c", "--split-max-size", "2M", "--dry-run", "--json")
    yield run("estimate", MODEL, "-t", "Q4_0,F16", "--memory", "1K", "--json")
    yield run("recommend", MODEL, "--gpu", "RTX 4090", "--json")
    yield run("recommend", MODEL, "--for", "transformers", "--gpu", "RTX 4090", "--json")
    yield run("recommend", MODEL, "--memory", "1M", "--json", status=4)
    yield run("inspect", MODEL, "--tensors", "--verify", "--json")
    yield run("inspect", at / "model-Q8_0.gguf", "--json")
    yield run("inspect", f"{MODEL}/model.safetensors", "--json")
    yield run("eval", MODEL, *few, "--choices", tasks, "--memory", "8M", "--json")
    yield run("eval", at / "model-Q2_K.gguf", *few, "--against", MODEL, "--retention", 4, "--json")
    yield run("compare", at / "model-Q2_K.gguf", at / "model-Q8_0.gguf", *few, "--against", MODEL, "--json")


def make_of_shapes(at):
    """Large models, unusual ones, and what is no whole model."""
    path, odd, lone, licensed = at / "shape.gguf", at / "odd.gguf", at / "lone.safetensors", at / "licensed"
    shapes.write(path, *shapes.SHAPES["Llama-3.1-8B"])
    yield run("recommend", path, "--gpu", "GTX 1650", "--ctx", 131072, "--memory", "64G", "--json", status=4)
    shapes.write(path, *shapes.SHAPES["Qwen3-30B-A3B"])
    yield run("inspect", path, "--json")
    keys, tensors = shapes.decoder({}, 2, 1, 33, 66, 99, 66, 1)
    shapes.write(odd, "llama", keys, tensors)
    yield run("recommend", odd, "--memory", "1G", "--json", status=4)
    keys["ssm.conv_kernel"] = 4
    shapes.write(odd, "llama", keys, tensors)
    yield run("estimate", odd, "-t", "F16", "--json")
    head = b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    lone.write_bytes(struct.pack("<Q", len(head)) + head + bytes(8))
    yield run("inspect", lone, "--json")
    shutil.copytree(MODEL, licensed)
    (licensed / "README.md").write_text("---\nlicense: mit\n---\n")
    yield run("inspect", licensed, "--json")


def make_of_hub(at):
    hub = fake_hub.FakeHub()
    hub.add("org/model", fake_hub.read_folder(pathlib.Path(MODEL)))
    hub.start()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()}
    env |= {"HF_HOME": str(at / "home"), "HF_ENDPOINT": hub.url}
    try:
        yield run("quantize", "org/model", "-t", "Q8_0", "-o", at / "streamed", "--no-cache", "--json", env=env)
        yield run("quantize", "org/model", "-t", "Q8_0", "-o", at / "pulled", "--json", env=env)
    finally:
        hub.stop()


def make_all():
    with tempfile.TemporaryDirectory(prefix="halftone-reports-") as folder:
        at = pathlib.Path(folder)
        return [reports.parse(text) for text in (*make_of_files(at), *make_of_shapes(at), *make_of_hub(at))]


# ---- what a report must not be ----

def objects(value, path=""):
    if isinstance(value, dict):
        yield path, value
    for key, v in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from objects(v, f"{path}/{key}")


def shortened(value):
    """Of long lists the first two: the others are alike."""
    if isinstance(value, dict):
        return {k: shortened(v) for k, v in value.items()}
    return [shortened(v) for v in value[:2]] if isinstance(value, list) and value and isinstance(value[0], dict) else value


def damaged(report):
    """The report with one member too many, or one of a wrong type; and where that is."""
    for path, members in list(objects(report)):
        members["surprise"] = [[]]  # no list of lists is right anywhere, also where names are free
        yield f"{path}/surprise", report
        del members["surprise"]
        for key, value in list(members.items()):
            number = isinstance(value, (int, float)) and path != "/metadata"  # where texts are right too
            for wrong in [[[]], "1"] if number else [[[]]]:
                members[key] = wrong
                yield f"{path}/{key}", report
            members[key] = value


def without_members(report):
    """The report without one of its members at the top that the schema requires."""
    form = reports.SCHEMA["$defs"][FORMS[report["verb"]]]
    for key in form["required"]:
        yield key, {k: v for k, v in report.items() if k != key}


def check_wrong_ones(all_reports, other):
    n = 0
    for report in map(shortened, all_reports):
        for path, wrong in itertools.chain(without_members(report), damaged(report)):
            n += 1
            if not reports.errors(wrong):
                fail(f"{report['verb']} with a wrong {path} is let through")
            if other and n % 50 == 0 and other.is_valid(wrong):
                fail(f"{report['verb']} with a wrong {path} is let through by jsonschema")
    print(f"{n} wrong reports are refused")


def other_checker():
    """Python's jsonschema, which knows all of JSON Schema; None where it is not installed."""
    try:
        import jsonschema
    except ImportError:
        print("SKIPPED a second opinion: there is no jsonschema (python3-jsonschema)")
        return None
    jsonschema.Draft202012Validator.check_schema(reports.SCHEMA)
    return jsonschema.Draft202012Validator(reports.SCHEMA)


# ---- what the schema must be ----

def check_units():
    """Numbers refer to a unit's definition; only metadata of files have none."""
    without = {f"/$defs/{name}" for name in UNITS} | {"/$defs/metadata_value/oneOf/0", "/$defs/metadata_array/properties/first/items"}
    for path, node in objects(reports.SCHEMA):
        kinds = node.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if {"number", "integer"} & set(kinds) and path not in without:
            fail(f"{path} has no unit: refer to one of {sorted(UNITS)}")
    for unit in UNITS:
        if not reports.SCHEMA["$defs"][unit].get("description"):
            fail(f"the unit {unit} is not described")


class Watch(reports.json_schema.Checker):
    """Notes which members of the schema were met."""
    def __init__(self, schema):
        super().__init__(schema)
        self.met = set()

    def on_properties(self, value, want, schema, path):
        if isinstance(value, dict):
            self.met |= {(id(want), name) for name in want if name in value}
        return super().on_properties(value, want, schema, path)


def check_every_member_is_made(all_reports):
    watch = Watch(reports.SCHEMA)
    for report in all_reports:
        watch.errors(report)
    for path, node in objects(reports.SCHEMA):
        want = node.get("properties")
        for name in want if isinstance(want, dict) and not path.endswith("/properties") else ():
            if (id(want), name) not in watch.met and f"{path}/{name}" not in RARE:
                fail(f"{path}/{name} is described, but in no report of this test")


def main():
    all_reports, other = make_all(), other_checker()
    for report in all_reports:
        for error in reports.errors(report):
            fail(f"{report['verb']}: {error}")
        if other and not other.is_valid(report):
            fail(f"{report['verb']}: {next(other.iter_errors(report)).message}, says jsonschema")
    check_wrong_ones(copy.deepcopy(all_reports), other)
    check_units()
    check_every_member_is_made(all_reports)
    sys.exit(failures > 0)


main()
