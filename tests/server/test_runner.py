#!/usr/bin/env python3
"""Real jobs through store, queue and runner: test_runner.py WORKER PROGRAM MODEL [--kills N] [--seed S] [CASE …].

The worker is tests/server/worker_main.c; it is driven by JSON lines, killed, starved and lied to here."""
import argparse, ctypes, hashlib, json, os, queue, random, resource, shutil, signal, sqlite3, subprocess, sys, tempfile, threading, time

import unsynced
from folders import FOLDER, REQUESTED, folder_program
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import reports

SHORT = ["Q4_K_M", "Q8_0"]
LONG = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ4_XS", "IQ4_NL"]
ENDED = ("completed", "failed", "cancelled")
STILL = 600 # seconds: a last resort, not a measure


class Worker:
    all = []

    def __init__(self, where, program=None, parallel=1, attempts=3, limit=None, hub=(), environment=None):
        def prepare():
            if limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        self.p = subprocess.Popen([args.worker, where, program or args.program, str(parallel), str(attempts), *hub], preexec_fn=prepare, env={**os.environ, **(environment or {})},
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(open(args.stderr, "a") if args.stderr else subprocess.DEVNULL), text=True)
        self.answers, self.events, self.where = queue.Queue(), [], where
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        Worker.all.append(self.p)
        assert self.answers.get(timeout=STILL) == "ready", "the worker did not start"

    def read(self):
        for line in self.p.stdout:
            line = json.loads(line)
            if "answer" in line: self.answers.put(line["answer"])
            else: self.events.append(line)
        self.answers.put(None)

    def ask(self, do, **more):
        self.p.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self.p.stdin.flush()
        answer = self.answers.get(timeout=STILL)
        assert answer is not None or self.p.poll() is None or do == "job", "the worker died"
        return answer

    def submit(self, types, name="job", source=None, key=None, **more):
        request = {"name": name, "source_model": "example/model", "source_type": "local", "source_path": source or args.model,
                   "gguf_quant_types": types, **more}
        return self.ask("submit", request=request)["id"]

    def job(self, id): return self.ask("job", id=id)

    def wait(self, id, statuses=ENDED):
        """As long as it takes: a slow machine is no fault. STILL seconds without any change are."""
        seen, since = None, time.monotonic()
        while True:
            job = self.job(id)
            if job["status"] in statuses: return job
            sign = (job["status"], job["progress"], job["current_step"], job["attempt"], json.dumps(job["live"]), len(self.events))
            if sign != seen: seen, since = sign, time.monotonic()
            if time.monotonic() - since > STILL: raise AssertionError(f"nothing changes any more: {job}")
            time.sleep(0.02)

    def children(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as f: fields = f.read().rsplit(")", 1)[1].split()
                if int(fields[1]) == self.p.pid and fields[0] != "Z": found.append(int(pid))
            except OSError: pass
        return found

    def close(self):
        self.p.stdin.close()
        status = self.p.wait(STILL)
        assert status == 0, f"the worker ended with {status}"
        self.reader.join()

    def kill(self):
        self.p.kill()
        self.p.wait()


def sha256(path):
    with open(path, "rb") as f: return hashlib.sha256(f.read()).hexdigest()


def direct(types):
    """What the program writes by itself: type -> hash."""
    if not hasattr(direct, "known"): direct.known = {}
    missing = [t for t in types if t not in direct.known]
    if missing:
        out = tempfile.mkdtemp()
        subprocess.run([args.program, "quantize", args.model, "-t", ",".join(missing), "-o", out, "--quiet"], check=True,
                       stdout=subprocess.DEVNULL)
        for name in os.listdir(out): direct.known[name.rsplit("-", 1)[1][:-5]] = sha256(os.path.join(out, name))
        shutil.rmtree(out)
    return direct.known


def check_completed(worker, job, types):
    assert job["status"] == "completed", job
    assert job["progress"] == 100 and job["error"] is None and job["completed_outputs"] == len(types), job
    known = direct(types)
    written = [os.path.join(worker.where, f) for f in remains(worker.where) if f.endswith("report.json") and job["id"] in f]
    assert len(written) == 1 and not (wrong := reports.errors(open(written[0]).read())), (written, wrong)
    assert [o["quant_type"] for o in job["outputs"]] == types, job["outputs"]
    for o in job["outputs"]:
        file = worker.ask("file", id=job["id"], name=o["name"])
        assert sha256(file["path"]) == o["sha256"] == known[o["quant_type"]], o
        assert os.path.getsize(file["path"]) == o["file_size"], o


def remains(where):
    """Files under jobs/ and models/."""
    return sorted(os.path.relpath(os.path.join(d, f), where) for top in ("jobs", "models")
                  for d, _, files in os.walk(os.path.join(where, top)) for f in files)


def check_events(events, id):
    ids = [e["id"] for e in events]
    assert ids == sorted(set(ids)), "ids do not rise"
    progress = [e["data"]["progress"] for e in events if e["data"].get("id") == id]
    assert progress == sorted(progress), f"progress falls: {progress}"
    for e in events:
        live = e["data"].get("live")
        if live: assert 0 <= live["done"] <= live["total"] and "/" not in live["tensor"], live


def case_complete(where):
    w = Worker(where)
    id = w.submit(SHORT)
    check_completed(w, w.wait(id), SHORT)
    seen = [e["data"]["status"] for e in w.events if e["data"]["id"] == id]
    order = ["queued", "preparing", "quantizing", "verifying", "completed"]
    assert sorted(set(seen), key=seen.index) == order, seen
    check_events(w.events, id)
    assert [m["variants"][0]["run_memory"]["total_bytes"] > 0 for m in w.ask("models")["models"]] == [True]
    assert os.listdir(os.path.join(where, "jobs")) == [] and len(remains(where)) == 3, remains(where)
    last = w.events[-1]["id"]
    w.close()
    for left in ("jobs/" + "0" * 32, "models/old-" + id, "models/foreign-" + "1" * 32, "models/mine"):
        os.makedirs(os.path.join(where, left, "inside"))
    w = Worker(where)
    assert os.listdir(where + "/jobs") == [] and len(os.listdir(where + "/models")) == 3, "what is not known to be left over stays"
    again = w.submit(SHORT, name="again")
    check_completed(w, w.wait(again), SHORT)
    assert w.events[0]["id"] > last
    assert len(w.ask("models")["models"][0]["variants"]) == 4
    assert w.ask("delete", id=id) == "ok"
    assert len(remains(where)) == 6, "the registry keeps the files"
    assert w.ask("forget", id=w.ask("models")["models"][0]["id"]) == "ok"
    assert remains(where) == []
    w.close()


def case_measured(where):
    w = Worker(where)
    text = where + "/calibration.txt" # a short one: the default text takes this model half a minute
    with open(text, "w") as f: f.write("The morning was cold, and the boats lay still in the harbour. " * 40)
    id = w.submit(["Q4_K_M"], config={"use_imatrix": True, "imatrix_dataset": text, "measure": True}, options={"ctx": "32", "chunks": "4"})
    job = w.wait(id)
    assert job["status"] == "completed", job
    output = job["outputs"][0]
    assert output["perplexity"] > 1 and 0 < output["kld"] < 1 and 0.5 < output["top1_agreement"] <= 1, output
    seen = {e["data"]["status"] for e in w.events}
    assert {"quantizing", "measuring", "verifying"} <= seen, seen
    assert any("importance" in e["data"]["current_step"] for e in w.events)
    check_events(w.events, id)
    assert any(f.endswith("quality.html") for f in remains(where))
    w.close()


def case_refused(where):
    w = Worker(where)
    job = w.wait(w.submit(SHORT, source="/nonexistent/model"))
    assert job["status"] == "failed" and "no such model" in job["error"] and job["error_advice"], job
    job = w.wait(w.submit(["IQ1_S"]))
    assert job["status"] == "failed" and job["error"], job
    check_completed(w, w.wait(w.submit(SHORT)), SHORT)
    w.close()
    w = Worker(where, environment={"WORKER_MEMORY": str(12 << 20)})
    job = w.wait(w.submit(SHORT))
    assert job["status"] == "completed" or (job["status"] == "failed" and job["error"] and job["error_advice"]), job
    print(f"  in 12 MB: {job['error']}")
    w.close()


def case_cancel(where):
    w = Worker(where)
    for i in range(10):
        id = w.submit(LONG, options={"threads": "1"})
        time.sleep(rng.uniform(0, 0.6) if i else 0)
        answer = w.ask("cancel", id=id)
        job = w.wait(id)
        if answer == "conflict":
            assert job["status"] == "completed", job
            continue
        assert answer == "ok" and job["status"] == "cancelled", (answer, job)
        assert {o["status"] for o in job["outputs"]} == {"cancelled"}, job["outputs"]
        time.sleep(0.05)
        assert w.children() == []
        assert not any(id in f for f in remains(where)), remains(where)
    waiting = [w.submit(SHORT), w.submit(SHORT)]
    assert w.ask("cancel", id=waiting[1]) == "ok"
    check_completed(w, w.wait(waiting[0]), SHORT)
    assert w.ask("retry", id=waiting[1]) == "ok"
    check_completed(w, w.wait(waiting[1]), SHORT)
    w.close()


def quantizing_child(w, id):
    w.wait(id, ("quantizing",) + ENDED)
    for pid in w.children():
        with open(f"/proc/{pid}/cmdline") as f:
            if f.read().split("\0")[1] == "quantize": return pid
    return None


def case_child_killed(where):
    w = Worker(where)
    killed = 0
    for i in range(3):
        id = w.submit(LONG, options={"threads": "1"})
        pid = quantizing_child(w, id)
        time.sleep(rng.uniform(0, 0.1))
        if pid:
            try: os.kill(pid, signal.SIGKILL)
            except ProcessLookupError: pass
        job = w.wait(id)
        if job["status"] == "completed": continue
        killed += 1
        assert job["status"] == "failed" and "killed by signal 9" in job["error"] and job["error_advice"], job
        assert any("killed by signal 9" in l["line"] for l in w.ask("log", id=id)["lines"])
        if i == 0:
            assert w.ask("retry", id=id) == "ok"
            check_completed(w, w.wait(id), LONG)
            continue
        check_completed(w, w.wait(w.submit(SHORT)), SHORT) # it alone has failed
        assert w.ask("delete", id=id) == "ok"
        assert not any(id in f for f in remains(where))
    assert killed, "no child was caught"
    w.close()


def case_stop(where):
    """A proper end in the middle: the job waits, counts no attempt, and goes on."""
    w = Worker(where)
    id = w.submit(LONG, options={"threads": "1"})
    w.wait(id, ("quantizing",))
    while (w.job(id)["live"] or {}).get("done", 0) <= 1000000 and w.job(id)["status"] == "quantizing": time.sleep(0.02)
    before = w.job(id)["progress"]
    w.close()
    w = Worker(where, attempts=1)
    assert w.job(id)["progress"] > 0 or before == 0
    check_completed(w, w.wait(id), LONG)
    assert w.job(id)["attempt"] == 1
    w.close()


def case_resume(where):
    """Killed after the first checkpoint: the next attempt continues from the tensors that were finished. Checkpoints are
    ten seconds apart; the child is stopped for so long in the middle of its work."""
    w = Worker(where)
    id = w.submit(LONG, options={"threads": "1", "cpu": "scalar"})
    pid = quantizing_child(w, id)
    time.sleep(0.4)
    os.kill(pid, signal.SIGSTOP)
    journal = [f"{where}/jobs/{id}/out/{f}" for f in os.listdir(f"{where}/jobs/{id}/out") if f.endswith(".journal")][0]
    size = os.path.getsize(journal)
    time.sleep(10)
    assert w.job(id)["status"] == "quantizing" # the lease was kept meanwhile
    os.kill(pid, signal.SIGCONT)
    while w.job(id)["status"] == "quantizing" and os.path.exists(journal) and os.path.getsize(journal) == size: time.sleep(0.01)
    w.kill()
    w = Worker(where)
    check_completed(w, w.wait(id), LONG)
    assert w.job(id)["attempt"] == 2, "it was done before the kill"
    with open(os.path.join(where, next(f for f in remains(where) if f.endswith("report.json")))) as f:
        resumed = json.load(f)["weights_resumed"]
    assert resumed > 0, "nothing was continued"
    assert any("checking what an earlier attempt has written" in l["line"] for l in w.ask("log", id=id)["lines"]), "it is told what takes time"
    print(f"  {resumed} weights were there already")
    w.close()


def case_fenced(where):
    """Somebody else claims a job that runs: the old attempt notices, ends, and publishes nothing; the new one does it."""
    w = Worker(where, parallel=2)
    id = w.submit(LONG, options={"threads": "1"})
    pid = quantizing_child(w, id)
    os.kill(pid, signal.SIGSTOP) # it would never end by itself
    db = sqlite3.connect(where + "/halftone.db", timeout=10)
    db.execute("UPDATE jobs SET epoch = epoch + 1, lease_until = 1")
    db.commit()
    db.close()
    job = w.wait(id)
    check_completed(w, job, LONG)
    assert w.ask("state")["fenced"] >= 1 and w.ask("state")["completed"] == 1, w.ask("state")
    assert not os.path.exists(f"/proc/{pid}"), "the old child lives on"
    w.close()
    assert os.listdir(where + "/jobs") == [] and len(os.listdir(where + "/models")) == 1


def case_parallel(where):
    w = Worker(where, parallel=3)
    ids = [w.submit(SHORT, name=f"job {i}", priority=i % 3) for i in range(6)]
    for id in ids: check_completed(w, w.wait(id), SHORT)
    for id in ids: check_events(w.events, id)
    assert w.ask("state")["completed"] == 6
    w.close()


def misbehaving(where, quantize):
    """A program that plans like the real one, and quantizes as told."""
    path = where + ".sh"
    with open(path, "w") as f:
        f.write(f'#!/bin/sh\ncase "$1" in\nquantize)\n{quantize}\n;;\n*) exec {args.program} "$@" ;;\nesac\n')
    os.chmod(path, 0o755)
    return path


def case_misbehaved(where):
    cases = [("kill -SEGV $$", "signal 11"), ("exit 0", "without a report"), ("exit 7", "status 7"),
             ("echo garbage; echo '[1,2'; echo '{}'; echo boom >&2; exit 3", "boom"),
             ("head -c 100000000 /dev/zero", "more than it may"),
             ("echo '{\"event\":\"progress\",\"step\":\"quantize\",\"done\":-5,\"total\":\"x\"}'; echo '{\"event\":5}'; exit 1", "status 1"),
             ("mkfifo report.json", "without a report"), ("ln -s /etc/hostname report.json", "without a report"),
             ("echo '{\"outputs\":[{\"files\":[{\"path\":\"/etc/hostname\",\"size_bytes\":1}]}]}' > report.json", "without a report"),
             ("echo '{\"outputs\":[]}' > report.json", "without a report")]
    if ctypes.CDLL(None).syscall(444, None, 0, 1) >= 1: # the kernel has Landlock: nothing can be written outside
        cases.append(("ln -s /etc/hostname ../plan.json 2>/dev/null && exit 5; rm -f ../lock 2>/dev/null && exit 5; exit 7", "status 7"))
    for script, expected in cases:
        w = Worker(where, program=misbehaving(where, script))
        job = w.wait(w.submit(SHORT))
        assert job["status"] == "failed" and expected in job["error"], (script, job["error"])
        w.close()
    for script in ("while :; do sleep 0.1; done", "trap '' INT TERM; while :; do sleep 0.1; done"): # hangs, and deaf
        w = Worker(where, program=misbehaving(where, script))
        id = w.submit(SHORT)
        time.sleep(0.4)
        assert w.ask("cancel", id=id) == "ok"
        assert w.wait(id)["status"] == "cancelled"
        w.close()
    w = Worker(where, program="/nonexistent")
    assert "did not start" in w.wait(w.submit(SHORT))["error"]
    w.close()
    w = Worker(where)
    check_completed(w, w.wait(w.submit(SHORT)), SHORT)
    w.close()
    os.unlink(where + ".sh")


def case_folders(where):
    """An output that is a folder: published whole, in one rename, with a row of its own; a report that lies of it is none."""
    w = Worker(where, program=folder_program(where))
    job = w.wait(w.submit([], requested=REQUESTED))
    assert job["status"] == "completed" and job["total_outputs"] == 2, job
    folder, single = job["outputs"]
    assert (folder["name"], folder["format"], folder["sha256"]) == ("toy-nf4", "safetensors", None), folder
    assert folder["file_size"] == sum(len(d) for _, d in FOLDER) and folder["bits_per_weight"] == 4.5, folder
    assert [(f["name"], f["size"], f["sha256"]) for f in folder["files"]] == [(n, len(d), hashlib.sha256(d).hexdigest()) for n, d in FOLDER], folder
    assert single["files"] is None and len(single["sha256"]) == 64, single
    at = w.ask("file", id=job["id"], name="toy-nf4")["path"]
    assert {n: open(os.path.join(at, n), "rb").read() for n in os.listdir(at)} == dict(FOLDER)
    assert os.listdir(os.path.join(where, "jobs")) == []
    [model] = w.ask("models")["models"]
    assert sorted(v["files"] is None for v in model["variants"]) == [False, True], model
    w.close()

    def each(change): return lambda output: [change(f) for f in output["files"]]
    lies = {"no hash": ("", lambda o: o["files"][0].pop("sha256")), "another size": ("", lambda o: o["files"][1].update(size_bytes=5)),
            "a file that is not there": ("rm toy-nf4/config.json", None), "the same file twice": ("", lambda o: o["files"].append(o["files"][0])),
            "a folder inside": ("mkdir toy-nf4/a; mv toy-nf4/config.json toy-nf4/a/", lambda o: o["files"][0].update(path="OUT/toy-nf4/a/config.json")),
            "a way out": ("", lambda o: o["files"][0].update(path="OUT/toy-nf4/../toy-nf4/config.json")),
            "a file that is elsewhere": ("", lambda o: o["files"][1].update(path="OUT/other/model.safetensors")),
            "a link to a folder": ("mv toy-nf4 real; ln -s real toy-nf4", None), "a link to a file": ("mv toy-nf4/config.json .; ln -s ../config.json toy-nf4/", None),
            "no files": ("", lambda o: o.update(files=[])), "a hidden folder": ("mv toy-nf4 .toy", lambda o: (o.update(path="OUT/.toy"), each(lambda f: f.update(path=f["path"].replace("toy-nf4", ".toy")))(o))),
            "the folder above": ("", lambda o: (o.update(path="OUT/.."), each(lambda f: f.update(path=f["path"].replace("toy-nf4", "..")))(o)))}
    for name, (tweak, tamper) in lies.items():
        w = Worker(where, program=folder_program(where, tweak, tamper))
        job = w.wait(w.submit([], requested=REQUESTED))
        assert job["status"] == "failed" and "without a report" in job["error"], (name, job["status"], job["error"])
        w.close()
    os.unlink(where + ".sh")


def case_hub(where):
    """A model from the hub: only `pull` gets the token, its progress counts, the commit is pinned, a retry pulls no second time."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    path = where + ".sh"
    with open(path, "w") as f:
        f.write(f"""#!/bin/sh
[ "$1" != pull ] && {{ [ -n "$HF_TOKEN" ] && exit 9; exec {args.program} "$@"; }}
[ "$HF_TOKEN" = secret ] || {{ echo "no token" >&2; exit 1; }}
[ "$4" = org/name@main ] || [ "$4" = org/name@main:a.gguf ] || exit 2
echo pulled >> {where}.count
for done in 10 50 100; do
echo '{{"event":"progress","step":"download","tensor":"model.safetensors","unit":"bytes","done":'$done',"total":100,"seconds":1,"rate":1,"seconds_left":1}}'
sleep 0.25
done
echo '{{"path":"{args.model}","commit":"{commit}"}}'
""")
    os.chmod(path, 0o755)
    w = Worker(where, program=path, hub=["HF_TOKEN=secret"])
    request = {"name": "hub", "source_model": "org/name", "source_type": "huggingface", "source_revision": "main", "gguf_quant_types": SHORT}
    id = w.ask("submit", request=request)["id"]
    job = w.wait(id)
    check_completed(w, job, SHORT)
    assert job["source_revision"] == commit, job
    seen = [(e["data"]["status"], e["data"]["progress"]) for e in w.events if e["data"]["id"] == id]
    assert {p for s, p in seen if s == "downloading"} >= {9.99, 19.98}, seen # of five passes over the model one is the download
    check_events(w.events, id)
    id = w.ask("submit", request=request)["id"]
    w.wait(id, ("downloading",))
    time.sleep(0.2)
    assert w.ask("cancel", id=id) == "ok"
    assert w.wait(id)["status"] == "cancelled" and not any(id in f for f in remains(where))
    w.close()
    with open(where + ".count") as f: assert len(f.readlines()) == 2
    w = Worker(where, program=path, hub=["HF_TOKEN=secret"])
    for model in ("org/name:a.gguf", "org/name@main:a.gguf"): # of several files, one
        check_completed(w, w.wait(w.ask("submit", request={**request, "source_model": model})["id"]), SHORT)
    w.close()
    w = Worker(where, program=path, hub=["HF_TOKEN=wrong"])
    job = w.wait(w.ask("submit", request=request)["id"])
    assert job["status"] == "failed" and "no token" in job["error"], job
    w.close()


def case_disk_full(where):
    """No file may grow over the limit, whoever writes it: outputs, database. Then all goes on."""
    for limit in (4 << 20, 600 << 10, 150 << 10, 40 << 10):
        shutil.rmtree(where, ignore_errors=True)
        Worker(where).close()
        w = Worker(where, limit=limit)
        answer = w.ask("submit", request={"name": "x", "source_model": "m", "source_type": "local", "source_path": args.model,
                                          "gguf_quant_types": SHORT})
        if isinstance(answer, str):
            assert answer == "disk full", answer
            job = None
        else:
            end = time.monotonic() + 1.5
            while time.monotonic() < end and w.job(answer["id"])["status"] not in ENDED: time.sleep(0.05)
            job = w.job(answer["id"])
            assert job["status"] != "completed", job
            if job["status"] == "failed": assert job["error"] and "space" in job["error_advice"], job
        resource.prlimit(w.p.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if job:
            job = w.wait(job["id"])
            assert job["status"] in ("failed", "completed"), job
        check_completed(w, w.wait(w.submit(SHORT)), SHORT)
        w.close()


def case_full_tmpfs(where):
    """A real file system of 24 MB, filled from outside at different moments."""
    os.makedirs(where, exist_ok=True)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", where], stderr=subprocess.DEVNULL).returncode:
        print("  skipped: no right to mount a file system")
        return
    try:
        for moment in (0, 0.05, 0.15, 0.3):
            w = Worker(where)
            id = w.submit(SHORT)
            time.sleep(moment)
            with open(where + "/filler", "wb", buffering=0) as f: # or closing writes what did not fit, and fails
                try:
                    while True: f.write(b"x" * 65536)
                except OSError: pass
            end = time.monotonic() + 1
            while time.monotonic() < end and w.job(id)["status"] not in ENDED: time.sleep(0.05)
            os.unlink(where + "/filler")
            job = w.wait(id)
            assert job["status"] in ("failed", "completed"), job
            if job["status"] == "failed": assert job["error"] and not any(f.endswith(".part") for f in remains(where)), job
            if job["status"] == "completed": w.ask("forget", id=w.ask("models")["models"][0]["id"]) # both would be too much
            again = w.submit(SHORT)
            check_completed(w, w.wait(again), SHORT)
            w.ask("forget", id=w.ask("models")["models"][0]["id"])
            w.close()
    finally:
        subprocess.run(["umount", "-l", where])


def case_killed(where):
    """kill -9 of the whole, again and again: no job lost, none published twice, nothing half-published."""
    w, ids, wanted = Worker(where, parallel=2, attempts=10000), [], {}
    for i in range(args.kills):
        while len([j for j in w.ask("jobs")["jobs"] if j["status"] not in ENDED]) < 3:
            types = rng.choice((SHORT, ["Q4_K_M"], ["Q6_K", "Q5_K_M"], ["Q8_0"]))
            ids.append(w.submit(types, name=f"job {len(ids)}", options={"threads": "1"}))
            wanted[ids[-1]] = types
        time.sleep(rng.uniform(0, (0.05, 0.5, 1, 2.5)[i % 4]))
        w.kill()
        w = Worker(where, parallel=2, attempts=10000)
    for id in ids: check_completed(w, w.wait(id), wanted[id])
    jobs = {j["id"] for j in w.ask("jobs")["jobs"]}
    assert jobs == set(ids) if len(ids) <= 200 else True, "jobs were lost"
    variants = [v for m in w.ask("models")["models"] for v in m["variants"]]
    assert len(variants) == sum(map(len, wanted.values())) == len({(v["job_id"], v["quant_type"]) for v in variants}), "not each once"
    w.close()
    assert len(os.listdir(where + "/models")) == len(ids) and os.listdir(where + "/jobs") == [], os.listdir(where + "/jobs")
    files = [f for f in remains(where) if not f.endswith("report.json")]
    assert len(files) == len(variants) and all(f.endswith(".gguf") for f in files), files
    db = sqlite3.connect(where + "/halftone.db")
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    attempts = db.execute("SELECT max(attempt), sum(attempt) FROM jobs").fetchone()
    print(f"  {args.kills} kills, {len(ids)} jobs, {attempts[1]} attempts, at most {attempts[0]} for one")


def case_folders_killed(where):
    """kill -9 in the middle of folders: each is published once and whole, with the bytes of a run that was left alone."""
    requested = [{"format": "safetensors", "type": t.split(":")[0], "options": {}, "quant_type": t} for t in ("nf4", "gptq:bits=3", "fp8")] + REQUESTED[1:]
    w = Worker(where, attempts=10000)
    whole = {o["quant_type"]: [(f["name"], f["sha256"]) for f in o["files"] or [o]] for o in w.wait(w.submit([], requested=requested))["outputs"]}
    ids = [w.submit([], requested=requested, options={"threads": "1"}) for _ in range(3)]
    for i in range(min(args.kills, 8)):
        time.sleep(rng.uniform(0, (0.1, 0.6, 1.5)[i % 3]))
        w.kill()
        w = Worker(where, attempts=10000)
    for id in ids:
        job = w.wait(id)
        assert job["status"] == "completed" and job["completed_outputs"] == 4, job
        for o in job["outputs"]:
            made = [(f["name"], f["sha256"]) for f in o["files"] or [o]]
            assert [n for n, _ in made] == [n for n, _ in whole[o["quant_type"]]], made
            assert {n: h for n, h in made if n != "README.md"} == {n: h for n, h in whole[o["quant_type"]] if n != "README.md"}, o["quant_type"]
            at = w.ask("file", id=id, name=o["name"])["path"]
            for f in o["files"] or []: assert sha256(os.path.join(at, f["name"])) == f["sha256"], f
            assert o["files"] is None or sorted(os.listdir(at)) == sorted(f["name"] for f in o["files"]), os.listdir(at)
    w.close()
    assert os.listdir(where + "/jobs") == [] and len(os.listdir(where + "/models")) == 4


def attempt_with(where, types, environment):
    """Submits and waits, however far it comes. The id, when one was promised."""
    told = w = None
    try:
        w = Worker(where, environment=environment)
        told = w.submit(types)
        w.wait(told)
        w.close()
    except (AssertionError, TypeError, BrokenPipeError): # it died in between
        if w: w.kill()
    return told


def case_killed_at(where):
    """kill -9 just before the Nth call that changes a file, from opening to closing: --kills of all the Ns."""
    if not args.kill_at:
        print("  skipped: no library to count calls with")
        return
    types = ["Q4_K_M"]
    Worker(where).close()
    attempt_with(where, types, {"LD_PRELOAD": args.kill_at, "KILL_COUNT": where + ".count"})
    with open(where + ".count") as f: total = int(f.read())
    for at in rng.sample(range(1, total + 1), min(args.kills, total)):
        shutil.rmtree(where)
        Worker(where).close()
        told = attempt_with(where, types, {"LD_PRELOAD": args.kill_at, "KILL_AT": str(at)})
        w = Worker(where)
        jobs = w.ask("jobs")["jobs"]
        assert told in [None] + [j["id"] for j in jobs], f"at {at}: a job that was promised is lost"
        for j in jobs: check_completed(w, w.wait(j["id"]), types)
        variants = [v for m in w.ask("models")["models"] for v in m["variants"]]
        w.close()
        assert len(variants) == len(jobs), f"at {at}: {len(variants)} variants of {len(jobs)} jobs"
        assert len(remains(where)) == 2 * len(variants) and os.listdir(where + "/jobs") == [], (at, remains(where))
        db = sqlite3.connect(where + "/halftone.db")
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], at
        db.close()
    print(f"  at {min(args.kills, total)} of {total} calls")


def case_power_failed(where):
    """The power fails just before the Nth call that changes a file, and of what no sync covered all, nothing or some is gone."""
    if not args.unsynced or not args.kill_at:
        print("  skipped: no library to note changes with")
        return
    types, noted, lost, entries, promised = ["Q4_K_M"], where + ".undo", 0, 0, 0
    both = {"LD_PRELOAD": args.kill_at + ":" + args.unsynced, "UNSYNCED_UNDER": where, "UNSYNCED_LOG": noted}
    os.mkdir(noted)
    Worker(where).close()
    attempt_with(where, types, {**both, "KILL_COUNT": where + ".count"})
    with open(where + ".count") as f: total = int(f.read())
    for i, at in enumerate(rng.sample(range(1, total + 1), min(args.kills // 3, total))):
        for folder in (where, noted): shutil.rmtree(folder)
        os.mkdir(noted)
        Worker(where).close()
        w, told, done = None, [], []
        try:
            w = Worker(where, environment={**both, "KILL_AT": str(at)})
            for _ in range(2): told.append(w.submit(types))
            for id in told: done += [id] if w.wait(id)["status"] == "completed" else []
            w.close()
        except (AssertionError, TypeError, BrokenPipeError): # it died in between
            if w: w.kill()
        share = (1, 0.5, 0.9)[i % 3]
        n, m = unsynced.fail(where, noted, lambda: rng.random() < share)
        lost, entries, promised = lost + n, entries + m, promised + len(told)
        w = Worker(where)
        jobs = {j["id"]: j for j in w.ask("jobs")["jobs"]}
        assert set(told) <= set(jobs), f"at {at}: a job that was promised is lost"
        for id in done: assert jobs[id]["status"] == "completed", f"at {at}: a job was completed, and is not any more"
        for id in jobs: check_completed(w, w.wait(id), types)
        variants = [v["job_id"] for m in w.ask("models")["models"] for v in m["variants"]]
        w.close()
        assert sorted(variants) == sorted(jobs), f"at {at}: {len(variants)} variants of {len(jobs)} jobs"
        assert len(remains(where)) == 2 * len(variants) and os.listdir(where + "/jobs") == [], (at, remains(where))
        db = sqlite3.connect(where + "/halftone.db")
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], at
        db.close()
    print(f"  at {min(args.kills // 3, total)} of {total} calls, {promised} jobs promised; lost: {lost} sectors, {entries} changes of folders")


def case_full_at(where):
    """The disk is full for a while for the server itself, from the Nth call that changes a file on."""
    if not args.kill_at:
        print("  skipped: no library to count calls with")
        return
    types, ends = ["Q4_K_M"], {}
    Worker(where).close()
    attempt_with(where, types, {"LD_PRELOAD": args.kill_at, "KILL_COUNT": where + ".count"})
    with open(where + ".count") as f: total = int(f.read())
    for at in rng.sample(range(1, total + 1), min(args.kills // 2, total)):
        shutil.rmtree(where)
        Worker(where).close()
        to = at + rng.choice((1, 2, 4, 7)) # each try to record the failure uses one up
        try: w = Worker(where, environment={"LD_PRELOAD": args.kill_at, "FULL_FROM": str(at), "FULL_TO": str(to)})
        except AssertionError: # refused to start: says why, and starts the next time
            ends["no start"] = ends.get("no start", 0) + 1
            w = Worker(where)
        request = {"name": "x", "source_model": "m", "source_type": "local", "source_path": args.model, "gguf_quant_types": types}
        answer = w.ask("submit", request=request)
        if isinstance(answer, str):
            assert answer == "disk full", answer
            ends[answer] = ends.get(answer, 0) + 1
        else:
            job = w.wait(answer["id"])
            ends[job["status"]] = ends.get(job["status"], 0) + 1
            if job["status"] == "completed": check_completed(w, job, types)
            else: assert job["status"] == "failed" and job["error"] and job["error_advice"], job
        for i in range(40): # the service goes on
            answer = w.ask("submit", request=request)
            if not isinstance(answer, str): break
        job = w.wait(answer["id"])
        if job["status"] == "failed": # the disk was still full
            assert w.ask("retry", id=job["id"]) == "ok"
            job = w.wait(job["id"])
        check_completed(w, job, types)
        w.p.stdin.close()
        w.p.wait(10)
        db = sqlite3.connect(where + "/halftone.db")
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], at
        db.close()
    print(f"  at {min(args.kills // 2, total)} of {total} calls: {ends}")


def main():
    cases = {name[5:]: f for name, f in globals().items() if name.startswith("case_")}
    for name in args.cases or cases:
        folder = tempfile.mkdtemp(prefix="runner_")
        start = time.monotonic()
        try: cases[name](os.path.join(folder, "data"))
        except BaseException:
            for p in Worker.all: p.kill()
            print(f"FAILED {name} (seed {args.seed}), data in {folder}")
            raise
        shutil.rmtree(folder)
        print(f"ok {name} ({time.monotonic() - start:.1f} s)", flush=True)


parser = argparse.ArgumentParser()
parser.add_argument("worker")
parser.add_argument("program")
parser.add_argument("model")
parser.add_argument("--stderr", help="where the worker's stderr goes")
parser.add_argument("--kill-at", help="tests/server/kill_at.c as a library")
parser.add_argument("--unsynced", help="tests/server/unsynced.c as a library")
parser.add_argument("--kills", type=int, default=20)
parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
parser.add_argument("cases", nargs="*")
args = parser.parse_intermixed_args()
args.worker, args.program, args.model = (os.path.abspath(p) for p in (args.worker, args.program, args.model))
rng = random.Random(args.seed)
main()
