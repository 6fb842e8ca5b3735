"""The faults of the campaign: what one does when it begins and when it ends, to what, and how a seed spreads them over a run."""
import signal

from test_workers import until


class Fault:
    def __init__(self, kind, target, at, seconds, draw):
        self.kind, self.target, self.at, self.seconds, self.draw = kind, target, at, seconds, draw

    def __repr__(self):
        return f"{self.at:.2f}s {self.kind} {self.target} for {self.seconds:.2f}s"


# Each: begin(run, fault), end(run, fault).


def kill(run, f):
    p = run.processes[f.target]
    if f.draw < 0.3:
        p.signal_all(signal.SIGKILL)
    elif f.draw < 0.5:  # its child lives on for a while, as on a machine that is cut off
        for pid in run.children(p):
            run.stop_child(pid)
    run.end(f.target, signal.SIGKILL)


def end_by_hand(run, f):
    run.leave(f.target, signal.SIGTERM)  # it may take until another fault is over


def start_again(run, f):
    run.want(f.target)


def stop(run, f):
    run.processes[f.target].signal_all(signal.SIGSTOP)


def go_on(run, f):
    run.processes[f.target].signal_all(signal.SIGCONT)


def freeze_child(run, f):
    """The work stands still; its worker says that it lives."""
    for pid in run.children(run.processes[f.target]):
        run.stop_child(pid)


def thaw_children(run, f):
    run.continue_children()


def cut(run, f):
    run.wires[f.target].set("cut")


def break_off(run, f):
    run.wires[f.target].set("broken")


def heal(run, f):
    run.wires[f.target].set("whole")


def bucket_fails(run, f):
    kinds = [("cut", "drop", "answer"), (500, 502, 503, 429), ("slow",), ("drop",), (500, 503, "cut", "drop", "answer", "slow")][int(f.draw * 5)]
    run.bucket_fails(kinds, 1 if f.seconds < 1 else 2 + int(f.draw * 10) % 2)


def bucket_works(run, f):
    run.bucket_fails((), 1)


def flush(run, f):
    redis = run.redis
    try:
        redis.ask("FLUSHALL")
    except (OSError, RuntimeError, ValueError):
        pass


def nothing(run, f):
    pass


def redis_kill(run, f):
    run.redis.kill()


def redis_start(run, f):
    if run.redis.process.poll() is not None:
        run.redis.start()


def redis_stop(run, f):
    run.redis.process.send_signal(signal.SIGSTOP)


def redis_go_on(run, f):
    run.redis.process.send_signal(signal.SIGCONT)


def postgres_kill(run, f):
    run.postgres.kill()


def postgres_start(run, f):
    run.postgres.restart()


def backend_kill(run, f):
    run.postgres.kill_backend()


def backend_wait(run, f):
    until(run.postgres.answers)


def postgres_stop(run, f):
    run.postgres.signal_all(signal.SIGSTOP)


def postgres_go_on(run, f):
    run.postgres.signal_all(signal.SIGCONT)


def fill(run, f):
    run.disks[f.target].fill()


def empty(run, f):
    run.disks[f.target].empty()


LEASE = 3
# kind: (what it befalls, begin, end, seconds from, to, weight)
KINDS = {
    "kill": ("process", kill, start_again, 0.0, 4.0, 6),
    "terminate": ("process", end_by_hand, start_again, 0.0, 2.0, 2),
    "stop": ("process", stop, go_on, 0.2, LEASE + 2.0, 4),
    "freeze": ("process", freeze_child, thaw_children, 0.5, LEASE + 1.0, 1),
    "cut": ("wire", cut, heal, 0.5, LEASE + 3.0, 3),
    "break": ("wire", break_off, heal, 0.0, LEASE + 3.0, 2),
    "bucket": ("s3", bucket_fails, bucket_works, 0.3, 4.0, 6),
    "flush": ("redis", flush, nothing, 0.0, 0.1, 2),
    "redis-kill": ("redis", redis_kill, redis_start, 0.0, 3.0, 2),
    "redis-stop": ("redis", redis_stop, redis_go_on, 0.2, 4.0, 2),
    "postgres-kill": ("postgres", postgres_kill, postgres_start, 0.0, 2.0, 3),
    "backend-kill": ("postgres", backend_kill, backend_wait, 0.0, 0.5, 2),
    "postgres-stop": ("postgres", postgres_stop, postgres_go_on, 0.2, 5.0, 2),
    "full": ("disk", fill, empty, 0.1, 3.0, 3),
}


def schedule(rng, places):
    """places: {what: [names]}. One fault at a time for each name; different ones overlap."""
    kinds = [k for k, row in KINDS.items() if places.get(row[0])]
    free_from, faults = {}, []
    window = rng.uniform(0.3, 4.0)
    for _ in range(rng.randint(1, 5)):
        kind = rng.choices(kinds, [KINDS[k][5] for k in kinds])[0]
        what, _, _, least, most, _ = KINDS[kind]
        target = rng.choice(places[what])
        at = max(rng.uniform(0, window), free_from.get(target, 0))
        seconds = rng.uniform(least, most)
        free_from[target] = at + seconds + 0.05
        faults.append(Fault(kind, target, at, seconds, rng.random()))
    return sorted(faults, key=lambda f: f.at)


def begin(run, fault):
    KINDS[fault.kind][1](run, fault)


def end(run, fault):
    KINDS[fault.kind][2](run, fault)
