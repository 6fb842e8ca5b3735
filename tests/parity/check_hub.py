#!/usr/bin/env python3
"""The hub's own package and our program share one cache: each finds what the other fetched, from one fake hub.

Environment: HT_CLI. Exit status: 0 passed, 1 failed, 77 skipped.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import huggingface_hub
except ImportError as missing:
    print(f"SKIPPED check_hub: the Python package {missing.name} is not here")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "hub"))
import fake_hub  # noqa: E402

CLI = os.environ.get("HT_CLI", str(ROOT / "build" / "halftone"))
MODEL = ROOT / "examples" / "model"

# What the package does, in a process of its own: it reads its settings when it is loaded.
THEIRS = r"""
import json, os, sys
import huggingface_hub as h
what, cache = sys.argv[1:3]
if what == "read":
    folder = h.snapshot_download("org/model", local_files_only=True)
    files = {f: h.hf_hub_download("org/model", f, local_files_only=True) for f in sys.argv[3:]}
    lacking = h.try_to_load_from_cache("org/model", "merges.txt")
    info = h.scan_cache_dir(cache)
    repo = next(iter(info.repos))
    print(json.dumps({"folder": folder, "files": files, "lacking": lacking is h._CACHED_NO_EXIST,
                      "warnings": [str(w) for w in info.warnings], "repo": [repo.repo_id, repo.repo_type],
                      "size": repo.size_on_disk, "refs": sorted(repo.refs),
                      "revisions": [[r.commit_hash, len(r.files)] for r in repo.revisions]}))
else:
    print(json.dumps({"folder": h.snapshot_download("org/model", allow_patterns=sys.argv[3:])}))
"""


def theirs(env, *args):
    run = subprocess.run([sys.executable, "-c", THEIRS, *args], env=env, capture_output=True, text=True, timeout=120)
    if run.returncode != 0:
        raise AssertionError("the package: " + run.stderr.strip()[-800:])
    return json.loads(run.stdout.splitlines()[-1])


def ours(env, *args):
    run = subprocess.run([CLI, *args], env=env, capture_output=True, text=True, timeout=120)
    if run.returncode != 0:
        raise AssertionError("halftone: " + run.stderr.strip())
    return run.stdout


def environment(hub, home):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()}
    return env | {"HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1",
                  "NO_PROXY": "127.0.0.1"}


def check(condition, what, *more):
    if not condition:
        raise AssertionError(" ".join([what, *map(str, more)]))


def they_read_what_we_wrote(hub, home):
    env = environment(hub, home)
    answer = json.loads(ours(env, "pull", "org/model", "--json").splitlines()[-1])
    names = [f["name"] for f in answer["files"]]
    got = theirs(env, "read", str(home / "hub"), *names)
    check(got["folder"] == answer["path"], "the snapshot is elsewhere:", got["folder"], answer["path"])
    for name, path in got["files"].items():
        check(pathlib.Path(path).read_bytes() == hub.repos["org/model"].files[name], "other bytes in", name)
    check(got["lacking"], "the package does not see that merges.txt is known to be lacking")
    check(got["warnings"] == [] and got["repo"] == ["org/model", "model"], "its scan complains:", got)
    check(got["refs"] == ["main"] and got["revisions"] == [[answer["commit"], len(names)]], "other revisions:", got)
    check(got["size"] == sum(f["size"] for f in answer["files"]), "another size on the disk:", got["size"])


def we_read_what_they_wrote(hub, home):
    env = environment(hub, home)
    folder = theirs(env, "write", str(home / "hub"), "*.json", "*.safetensors", "*.jinja", "*.md")["folder"]
    hub.reset()
    answer = json.loads(ours(env, "pull", "org/model", "--json").splitlines()[-1])
    check(answer["path"] == folder, "we look elsewhere:", answer["path"], folder)
    check(len(hub.requests) == 1, "what the package fetched was fetched again:", [r["path"] for r in hub.requests])
    hub.reset()
    ours(env, "estimate", "org/model", "-t", "Q4_K_M", "--offline")
    check(hub.requests == [], "offline somebody was asked")


def main():
    hub = fake_hub.FakeHub()
    hub.add("org/model", fake_hub.read_folder(MODEL))
    hub.start()
    status = 0
    for test in (they_read_what_we_wrote, we_read_what_they_wrote):
        with tempfile.TemporaryDirectory(prefix="halftone-hub-") as home:
            hub.reset()
            try:
                test(hub, pathlib.Path(home))
                print("ok  ", test.__name__.replace("_", " "))
            except (AssertionError, KeyError) as fault:
                print("FAIL", test.__name__.replace("_", " ") + ":", fault)
                status = 1
    hub.stop()
    print(f"check_hub: huggingface_hub {huggingface_hub.__version__}: {'passed' if status == 0 else 'FAILED'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
