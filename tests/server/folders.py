"""A program that plays the quantizer and writes an output that is a folder, for the runner's tests and the service's."""
import hashlib
import json
import os
import subprocess

FOLDER = [("config.json", b"{}"), ("model.safetensors", b"weights " * 700), ("empty.txt", b"")]


def folder_program(where, tweak="", tamper=None):
    """A program that plans and writes an output that is a folder, beside a file; tweak: shell commands before it ends, tamper: what its report says instead."""
    files = [{"path": f"OUT/toy-nf4/{name}", "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in FOLDER]
    report = {"outputs": [{"path": "OUT/toy-nf4", "format": "safetensors", "type": "nf4", "bpw": 4.5, "size_bytes": sum(len(d) for _, d in FOLDER), "files": files},
                          {"path": "OUT/toy-Q8_0.gguf", "format": "gguf", "type": "Q8_0", "bpw": 8.5,
                           "files": [{"path": "OUT/toy-Q8_0.gguf", "size_bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}]}]}
    plan = json.loads(json.dumps(report))
    if tamper: tamper(report["outputs"][0])
    write = "\n".join(f"printf %s '{data.decode()}' > toy-nf4/{name}" for name, data in FOLDER)
    path = where + ".sh"
    with open(path, "w") as f:
        f.write(f"""#!/bin/sh
case "$1" in
estimate) echo '{json.dumps(plan)}' ;;
quantize) mkdir -p toy-nf4
{write}
printf abc > toy-Q8_0.gguf
echo '{json.dumps(report)}' > report.json
{tweak}
true ;;
esac
""")
    os.chmod(path, 0o755)
    return path


REQUESTED = [{"format": "safetensors", "type": "nf4", "options": {}, "quant_type": "nf4"}, {"format": "gguf", "type": "Q8_0", "options": {}, "quant_type": "Q8_0"}]


def publish(worker, data):
    """A folder of the service's data in which a job has published toy-nf4/ and toy-Q8_0.gguf; its id."""
    p = subprocess.Popen([worker, data, folder_program(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def ask(**command):
        p.stdin.write(json.dumps(command) + "\n")
        p.stdin.flush()
        while "answer" not in (line := json.loads(p.stdout.readline())):
            pass
        return line["answer"]

    assert json.loads(p.stdout.readline())["answer"] == "ready"
    id = ask(do="submit", request={"name": "job", "source_model": "example/toy", "source_type": "local", "source_path": "/", "requested": REQUESTED})["id"]
    while (job := ask(do="job", id=id))["status"] not in ("completed", "failed"):
        pass
    p.stdin.close()
    assert p.wait() == 0 and job["status"] == "completed", job
    os.unlink(data + ".sh")
    return id
