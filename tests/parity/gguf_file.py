"""A GGUF file as lists of bytes, in the order of the file: quick to read, and nothing is interpreted."""
import struct

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
NAMES = {0: "u8", 1: "i8", 2: "u16", 3: "i16", 4: "u32", 5: "i32", 6: "f32", 7: "bool", 8: "str", 9: "arr", 10: "u64",
         11: "i64", 12: "f64"}
BLOCKS = {0: (1, 4), 1: (1, 2), 30: (1, 2), 8: (32, 34), 39: (32, 17)}  # weights, bytes


class File:
    """keys: {name: (type, value)}; tensors: {name: (shape, type, bytes)}."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data, self.at = file.read(), 8
        n_tensors, n_keys = self.take("QQ")
        self.keys = {}
        for _ in range(n_keys):
            name = self.text()
            self.keys[name] = self.value(*self.take("I"))
        entries = [self.entry() for _ in range(n_tensors)]
        begin = (self.at + 31) // 32 * 32
        self.tensors = {}
        for name, shape, kind, offset in entries:
            per, size = BLOCKS[kind]
            n = 1
            for dim in shape:
                n *= dim
            self.tensors[name] = (shape, kind, self.data[begin + offset:begin + offset + n // per * size])

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def text(self):
        n, = self.take("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode()

    def value(self, kind):
        if kind == 8:
            return "str", self.text()
        if kind != 9:
            return NAMES[kind], self.take(FORMATS[kind])[0]
        elem, n = self.take("IQ")
        if elem == 8:
            return "arr str", [self.text() for _ in range(n)]
        return "arr " + NAMES[elem], list(self.take(f"{n}{FORMATS[elem]}"))

    def entry(self):
        name = self.text()
        dims, = self.take("I")
        shape = self.take(f"{dims}Q")
        kind, offset = self.take("IQ")
        return name, shape, kind, offset


def short(value):
    text = repr(value)
    return text if len(text) < 160 else text[:157] + "..."


def differences(ours, theirs):
    """Lines that tell where two files differ: keys, types, values, tensors, bytes, and the order of both."""
    for name in theirs.keys.keys() | ours.keys.keys():
        a, b = ours.keys.get(name), theirs.keys.get(name)
        if repr(a) == repr(b):
            continue
        if a and b and a[0] == b[0] and a[0].startswith("arr"):
            at = next((i for i, (x, y) in enumerate(zip(a[1], b[1])) if x != y), min(len(a[1]), len(b[1])))
            yield name, f"{name}[{at}]: ours {short(a[1][at:at + 3])} of {len(a[1])}, theirs {short(b[1][at:at + 3])} of {len(b[1])}"
        else:
            yield name, f"{name}: ours {short(a)}, theirs {short(b)}"
    for name in theirs.tensors.keys() | ours.tensors.keys():
        a, b = ours.tensors.get(name), theirs.tensors.get(name)
        if a is None or b is None:
            yield name, f"tensor {name}: {'only theirs' if a is None else 'only ours'}"
        elif a[:2] != b[:2]:
            yield name, f"tensor {name}: ours {a[0]} type {a[1]}, theirs {b[0]} type {b[1]}"
        elif a[2] != b[2]:
            at = next(i for i, (x, y) in enumerate(zip(a[2], b[2])) if x != y)
            yield name, f"tensor {name}: byte {at} differs"
    for what, a, b in ("keys", ours.keys, theirs.keys), ("tensors", ours.tensors, theirs.tensors):
        a, b = [x for x in a if x in b], [x for x in b if x in a]
        if a != b:
            at = next(i for i, (x, y) in enumerate(zip(a, b)) if x != y)
            yield "order of " + what, f"order of {what}: at {at} ours {a[at:at + 4]}, theirs {b[at:at + 4]}"
