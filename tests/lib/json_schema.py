"""The part of JSON Schema 2020-12 that doc/report.schema.json uses. A keyword that is not known here is an error, so
that no schema can ask for what nobody checks."""
import re

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
NOTES = {"$schema", "$id", "$defs", "title", "description"}


def is_type(value, name):
    if name in ("number", "integer"):
        return isinstance(value, (int,) if name == "integer" else (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def same(a, b):
    return type(a) is type(b) and a == b


class Checker:
    def __init__(self, schema):
        self.root = schema

    def errors(self, value):
        """What is wrong, as "PATH: reason"."""
        return self.check(value, self.root, "")[0]

    def resolve(self, ref):
        assert ref.startswith("#/"), f"cannot follow {ref}"
        node = self.root
        for step in ref[2:].split("/"):
            node = node[step]
        return node

    def check(self, value, schema, path):
        """The errors, and the members that some part of the schema knows."""
        errors, known = [], set()
        for key, want in schema.items():
            if key in NOTES:
                continue
            more, names = getattr(self, "on_" + key.replace("$", ""))(value, want, schema, path)
            errors += more
            known |= names
        if schema.get("unevaluatedProperties") is False and isinstance(value, dict):
            errors += [f"{path}/{name}: no such member" for name in value if name not in known]
        return errors, known

    def on_ref(self, value, want, schema, path):
        return self.check(value, self.resolve(want), path)

    def on_type(self, value, want, schema, path):
        names = want if isinstance(want, list) else [want]
        return ([] if any(is_type(value, n) for n in names) else [f"{path}: {value!r:.80} is not of type {want}"]), set()

    def on_enum(self, value, want, schema, path):
        return ([] if any(same(value, w) for w in want) else [f"{path}: {value!r:.80} is none of {want}"]), set()

    def on_const(self, value, want, schema, path):
        return self.on_enum(value, [want], schema, path)

    def on_pattern(self, value, want, schema, path):
        wrong = isinstance(value, str) and not re.search(want, value)
        return ([f"{path}: {value!r:.80} does not match {want}"] if wrong else []), set()

    def bound(self, value, kind, ok, words, path):
        is_kind = is_type(value, kind)
        return ([f"{path}: {value!r:.80} {words}"] if is_kind and not ok(value) else []), set()

    def on_minimum(self, value, want, schema, path):
        return self.bound(value, "number", lambda v: v >= want, f"is less than {want}", path)

    def on_maximum(self, value, want, schema, path):
        return self.bound(value, "number", lambda v: v <= want, f"is more than {want}", path)

    def on_minLength(self, value, want, schema, path):
        return self.bound(value, "string", lambda v: len(v) >= want, f"is shorter than {want}", path)

    def on_minItems(self, value, want, schema, path):
        return self.bound(value, "array", lambda v: len(v) >= want, f"has fewer elements than {want}", path)

    def on_maxItems(self, value, want, schema, path):
        return self.bound(value, "array", lambda v: len(v) <= want, f"has more elements than {want}", path)

    def on_items(self, value, want, schema, path):
        elements = enumerate(value) if isinstance(value, list) else ()
        return [e for i, v in elements for e in self.check(v, want, f"{path}/{i}")[0]], set()

    def on_required(self, value, want, schema, path):
        missing = [n for n in want if n not in value] if isinstance(value, dict) else []
        return [f"{path}: the member {n!r} is missing" for n in missing], set()

    def on_properties(self, value, want, schema, path):
        names = [n for n in want if n in value] if isinstance(value, dict) else []
        return [e for n in names for e in self.check(value[n], want[n], f"{path}/{n}")[0]], set(names)

    def on_additionalProperties(self, value, want, schema, path):
        if not isinstance(value, dict):
            return [], set()
        more = [n for n in value if n not in schema.get("properties", {})]
        if want is False:
            return [f"{path}/{n}: no such member" for n in more], set()
        return [e for n in more for e in self.check(value[n], want, f"{path}/{n}")[0]], set(more)

    def on_unevaluatedProperties(self, value, want, schema, path):
        assert want is False
        return [], set()  # check() does it, last

    def on_allOf(self, value, want, schema, path):
        results = [self.check(value, s, path) for s in want]
        return [e for errors, _ in results for e in errors], set().union(*(names for _, names in results))

    def branches(self, value, want, path):
        results = [self.check(value, s, path) for s in want]
        return results, [names for errors, names in results if not errors]

    def on_anyOf(self, value, want, schema, path):
        results, right = self.branches(value, want, path)
        if right:
            return [], set().union(*right)
        return min((errors for errors, _ in results), key=len), set()

    def on_oneOf(self, value, want, schema, path):
        results, right = self.branches(value, want, path)
        if len(right) == 1:
            return [], right[0]
        if right:
            return [f"{path}: fits {len(right)} of the forms that it may have one of"], set()
        return min((errors for errors, _ in results), key=len), set()
