"""What a power failure may leave: of all that no sync covered, anything may be missing (see unsynced.c)."""
import collections
import os
import shutil
import struct

SECTOR = 512
Record = collections.namedtuple("Record", "kind inode other at length size first second number")


def read(path):
    with open(path, "rb") as f:
        data = f.read()
    at, records = 0, []
    while at + 64 <= len(data):
        kind, inode, other, where, length, size, n, m = struct.unpack_from("<8q", data, at)
        at += 64
        if at + n + m > len(data):
            break  # killed as it was noted: before the change
        records.append(Record(chr(kind), inode, other, where, length, size, data[at:at + n], data[at + n:at + n + m], len(records)))
        at += n + m
    return records


def entries_undone(records, synced, folder, lose):
    """Changes of folders reach the disk in their order: the latest may be missing."""
    n = 0
    for r in reversed([r for r in records if r.kind in "crumd"]):
        durable = synced[r.inode] > r.number and (r.kind != "r" or synced[r.other] > r.number)
        if durable or not lose():
            return n
        path, source = os.fsdecode(r.first), os.fsdecode(r.second)
        there = os.path.lexists(path)
        if r.kind == "c" and there:
            os.unlink(path)
        elif r.kind == "m" and there:
            shutil.rmtree(path)
        elif r.kind == "d" and not there:
            os.mkdir(path, 0o700)
        elif r.kind == "u" and not there:
            os.link(f"{folder}/{r.number}", path)
        elif r.kind == "r" and there and not os.path.lexists(source):
            os.rename(path, source)
        n += 1
    return n


def bytes_undone(path, records, lose):
    """Of each sector one of its contents since the last sync."""
    with open(path, "rb") as f:
        data = bytearray(f.read())
    size, kept, n = len(data), set(), 0
    if lose():
        size = records[0].size
    for r in reversed(records):
        old = r.first + bytes(r.length - len(r.first))
        data.extend(bytes(max(0, r.at + r.length - len(data))))
        at = r.at
        while at < r.at + r.length:
            end = min(r.at + r.length, (at // SECTOR + 1) * SECTOR)
            if at // SECTOR not in kept:
                if lose():
                    data[at:end] = old[at - r.at:end - r.at]
                    n += 1
                else:
                    kept.add(at // SECTOR)
            at = end
    data = data[:size] + bytes(max(0, size - len(data)))
    with open(path, "r+b") as f:
        f.truncate(0)
        f.write(data)
    return n


def fail(under, folder, lose):
    """lose(): is this one missing? Returns how many sectors and how many changes of folders were."""
    records = read(folder + "/log")
    synced = collections.Counter()
    for r in records:
        if r.kind == "s":
            synced[r.inode] = max(synced[r.inode], r.other)
    entries = entries_undone(records, synced, folder, lose)
    files = {}
    for where, _, names in os.walk(under):
        for name in names:
            files[os.lstat(os.path.join(where, name)).st_ino] = os.path.join(where, name)
    lost = collections.defaultdict(list)
    for r in records:
        if r.kind == "w" and synced[r.inode] <= r.number and r.inode in files:
            lost[r.inode].append(r)
    return sum(bytes_undone(files[i], r, lose) for i, r in lost.items()), entries
