#!/usr/bin/env python3
"""Runs a Dockerfile's commands one after the other in folders of their own, for machines without a container engine.

    by_hand.py CONTEXT WORK IMAGE=FOLDER…      (as root; WORK gets a folder for each stage)

IMAGE=FOLDER: a root file system that stands for a base image, such as `debootstrap --variant=minbase bookworm FOLDER`
makes. What is understood is what packaging/docker/Dockerfile uses. At the end the last stage is started as its CMD says,
as its USER, with nothing writable but its VOLUME and /tmp and without capabilities, until its HEALTHCHECK passes.
"""
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))


def instructions(path):
    """Instruction and arguments, continued lines joined, comments left out."""
    text = "".join(line for line in open(path) if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n", " ", text).split("\n"):
        if line.strip():
            yield line.strip().split(None, 1)


def left_out(path, rules):
    out = False
    for rule in rules:
        keep, rule = rule.startswith("!"), rule.lstrip("!")
        parts = path.split("/")
        names = ["/".join(parts[:i + 1]) for i in range(len(parts))]
        if rule.startswith("**/"):
            hit = any(fnmatch.fnmatch(p, rule[3:]) for p in parts)
        else:
            hit = any(fnmatch.fnmatch(n, rule) and n.count("/") == rule.count("/") for n in names)
        out = (not keep) if hit else out
    return out


def copy_context(context, root, sources, target, rules):
    for source in sources:
        base = os.path.join(context, source)
        if os.path.isfile(base):
            os.makedirs(root + target, exist_ok=True)
            shutil.copy2(base, root + target)
            continue
        for folder, _, files in os.walk(base):
            for name in files:
                path = os.path.relpath(os.path.join(folder, name), context)
                if not left_out(path, rules):
                    to = os.path.join(root + target, path)
                    os.makedirs(os.path.dirname(to), exist_ok=True)
                    shutil.copy2(os.path.join(context, path), to)


def in_root(root, folder, environment, command, user=None, read_only=None):
    """Argument list that runs a command in a mount and PID namespace with the folder as its root."""
    inner = [f"mount --make-rprivate / && cd {shlex.quote(root)}"]
    if read_only:
        inner.append("mount --bind . . && cd . && cd $PWD && mount -o remount,ro,bind .")
        inner += [f"mount --bind {shlex.quote(read_only)} .{volume}" for volume in ["/data"]]
        inner.append("mount -t tmpfs tmpfs tmp")
    inner.append("mount -t proc proc proc && mount --bind /dev dev")
    if not read_only:
        inner.append("cp /etc/resolv.conf etc/resolv.conf && { cp /etc/hosts etc/hosts; }")
    drop = f"setpriv --reuid {user} --regid {user} --clear-groups --bounding-set -all --no-new-privs" if user else ""
    run = f"exec {drop} " if user else "exec "
    # the root is entered first: setpriv would not be allowed to afterwards
    if user:
        run = f"exec chroot . {drop} "
    else:
        run += "chroot . "
    variables = " ".join(f"{k}={shlex.quote(v)}" for k, v in environment.items())
    run += f"env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin {variables} sh -c " + shlex.quote(
        f"cd {folder} && {command}")
    inner.append(run)
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", " && ".join(inner)]


class Stage:
    def __init__(self, image, root, images):
        self.root, self.folder, self.environment, self.user, self.settings = root, "/", {}, None, {}
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", images[image], root], check=True)


def build(context, work, images):
    stages, names = [], {}
    rules = open(os.path.join(HERE, "Dockerfile.dockerignore")).read().split()
    for word, rest in instructions(os.path.join(HERE, "Dockerfile")):
        start = time.monotonic()
        if word == "FROM":
            image, *name = re.sub(" AS ", " ", rest).split()
            stage = Stage(image, os.path.join(work, f"stage{len(stages)}"), images)
            stages.append(stage)
            names.update({n: stage for n in name})
        elif word == "RUN":
            subprocess.run(in_root(stage.root, stage.folder, stage.environment, rest), check=True, stdout=subprocess.DEVNULL)
        elif word == "COPY":
            *sources, target = rest.split()
            target = os.path.normpath(os.path.join(stage.folder, target))
            if sources[0].startswith("--from="):
                source = names[sources[0][7:]].root + sources[1]
                shutil.copy2(source, stage.root + target)
            else:
                copy_context(context, stage.root, sources, target, rules)
        elif word == "WORKDIR":
            stage.folder = rest
            os.makedirs(stage.root + rest, exist_ok=True)
        elif word == "ENV":
            stage.environment.update(p.split("=", 1) for p in shlex.split(rest))
        elif word == "USER":
            stage.user = rest.split(":")[0]
        else:
            stage.settings[word] = rest
        print(f"{time.monotonic() - start:6.1f} s  {word} {rest[:100]}", flush=True)
    return stages[-1]


def start(stage, work):
    """As `docker run --read-only --cap-drop ALL` would, on this machine's own network."""
    data = os.path.join(work, "data")
    shutil.rmtree(data, ignore_errors=True)
    os.makedirs(data)
    os.chown(data, int(stage.user), int(stage.user))
    entry, command = json.loads(stage.settings["ENTRYPOINT"]), json.loads(stage.settings["CMD"])
    health = json.loads(stage.settings["HEALTHCHECK"].split(" CMD ")[1])

    def run(arguments):
        return in_root(stage.root, "/", stage.environment, "exec " + shlex.join(arguments), stage.user, data)

    refused = subprocess.run(run(entry + command), capture_output=True, text=True)
    print("without a token:", refused.returncode, refused.stderr.strip().split("\n")[0])
    made = subprocess.run(run(entry + ["serve", "--new-token", "me", "--scope", "admin"]), capture_output=True, text=True)
    print("a token:", made.returncode, len(made.stdout.split()[-1]), "characters", made.stderr)
    service = subprocess.Popen(run(entry + command), stdout=subprocess.DEVNULL)
    try:
        for _ in range(50):
            checked = subprocess.run(run(health), capture_output=True, text=True)
            if checked.returncode == 0:
                break
            time.sleep(0.1)
        print("health:", checked.returncode, checked.stdout.strip(), checked.stderr.strip())
        token = made.stdout.split()[-1]
        listed = subprocess.run(run(entry + ["jobs", "list", "--token", token, "--json"]), capture_output=True, text=True)
        print("jobs:", listed.returncode, listed.stdout.strip(), listed.stderr.strip())
        with open(f"/proc/{service.pid}/task/{service.pid}/children") as f:
            child = f.read().split()[0]
        with open(f"/proc/{child}/status") as f:
            print("as:", " ".join(re.findall(r"^(?:Uid|CapBnd|NoNewPrivs):\t\S+", f.read(), re.M)).replace("\t", " "))
        os.kill(int(child), 15)
        print("stopped:", service.wait(30))
    finally:
        service.kill()
    good = refused.returncode != 0 and made.returncode == checked.returncode == listed.returncode == service.returncode == 0
    return 0 if good else 1


if __name__ == "__main__":
    context, work = (os.path.realpath(a) for a in sys.argv[1:3])
    os.makedirs(work, exist_ok=True)
    sys.exit(start(build(context, work, dict(a.split("=", 1) for a in sys.argv[3:])), work))
