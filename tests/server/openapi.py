"""The API's description as a judge: does a response have an operation, a status and a body that the document allows?

A subset of JSON Schema, as much as the document uses; a keyword that is not known here is an error, so that nothing in the
document goes unchecked.
"""
import json
import re

IGNORED = {"description", "default", "title"}
TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
}
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


class Wrong(AssertionError):
    pass


class Document:
    def __init__(self, document):
        self.document = document
        self.seen = set()
        self.operations = {}
        for path, methods in document["paths"].items():
            pattern = re.compile("^" + re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path)) + "$")
            for method, operation in methods.items():
                self.operations[(method.upper(), path)] = (pattern, operation)

    def resolve(self, schema):
        while "$ref" in schema:
            at = self.document
            for part in schema["$ref"][2:].split("/"):
                at = at[part]
            schema = at
        return schema

    def check(self, schema, value, where="body"):
        schema = self.resolve(schema)
        for word, rule in schema.items():
            if word in IGNORED:
                continue
            method = getattr(self, "rule_" + word, None)
            if method is None:
                raise Wrong(f"{where}: the keyword {word!r} is not known to this validator")
            method(schema, rule, value, where)

    def rule_type(self, schema, rule, value, where):
        names = rule if isinstance(rule, list) else [rule]
        if not any(TYPES[name](value) for name in names):
            raise Wrong(f"{where}: {value!r:.80} is not {rule}")

    def rule_enum(self, schema, rule, value, where):
        if value is None and "null" in schema.get("type", []):
            return
        if value not in rule:
            raise Wrong(f"{where}: {value!r} is none of {rule}")

    def rule_properties(self, schema, rule, value, where):
        if isinstance(value, dict):
            for name, sub in rule.items():
                if name in value:
                    self.check(sub, value[name], f"{where}/{name}")

    def rule_required(self, schema, rule, value, where):
        if isinstance(value, dict):
            missing = [name for name in rule if name not in value]
            if missing:
                raise Wrong(f"{where}: {missing} missing")

    def rule_additionalProperties(self, schema, rule, value, where):
        if not isinstance(value, dict) or rule is True:
            return
        for name in value:
            if name in schema.get("properties", {}):
                continue
            if rule is False:
                raise Wrong(f"{where}: {name!r} is not in the description")
            self.check(rule, value[name], f"{where}/{name}")

    def rule_items(self, schema, rule, value, where):
        if isinstance(value, list):
            for i, item in enumerate(value):
                self.check(rule, item, f"{where}/{i}")

    def rule_pattern(self, schema, rule, value, where):
        if isinstance(value, str) and not re.search(rule, value):
            raise Wrong(f"{where}: {value!r} does not match {rule}")

    def rule_format(self, schema, rule, value, where):
        if rule != "date-time":
            raise Wrong(f"{where}: the format {rule!r} is not known to this validator")
        if isinstance(value, str) and not TIME.match(value):
            raise Wrong(f"{where}: {value!r} is no time")

    def rule_minimum(self, schema, rule, value, where):
        if TYPES["number"](value) and value < rule:
            raise Wrong(f"{where}: {value} < {rule}")

    def rule_maximum(self, schema, rule, value, where):
        if TYPES["number"](value) and value > rule:
            raise Wrong(f"{where}: {value} > {rule}")

    def rule_minLength(self, schema, rule, value, where):
        if isinstance(value, str) and len(value) < rule:
            raise Wrong(f"{where}: too short")

    def rule_maxLength(self, schema, rule, value, where):
        if isinstance(value, str) and len(value) > rule:
            raise Wrong(f"{where}: too long")

    def rule_minItems(self, schema, rule, value, where):
        if isinstance(value, list) and len(value) < rule:
            raise Wrong(f"{where}: too few")

    def rule_maxItems(self, schema, rule, value, where):
        if isinstance(value, list) and len(value) > rule:
            raise Wrong(f"{where}: too many")

    def fits(self, schema, value, where):
        try:
            self.check(schema, value, where)
            return None
        except Wrong as e:
            return str(e)

    def rule_anyOf(self, schema, rule, value, where):
        faults = [self.fits(s, value, where) for s in rule]
        if all(faults):
            raise Wrong("; ".join(faults))

    def rule_oneOf(self, schema, rule, value, where):
        faults = [self.fits(s, value, where) for s in rule]
        if sum(f is None for f in faults) != 1:
            raise Wrong(f"{where}: not exactly one of {len(rule)}: " + "; ".join(f or "fits" for f in faults))

    def find(self, method, path):
        for (m, template), (pattern, operation) in self.operations.items():
            if m == method and pattern.match(path):
                return template, operation
        if method == "HEAD":
            return self.find("GET", path)
        return None, None

    def judge(self, method, path, status, content_type, body):
        """Raises Wrong when the document does not allow the response. Paths beside the document are not judged."""
        template, operation = self.find(method, path)
        if operation is None:
            return
        response = operation["responses"].get(str(status))
        if response is None:
            raise Wrong(f"{method} {template} answered {status}, which is not in the description: {body[:200]!r}")
        self.seen.add((method, template, status))
        response = self.resolve(response)
        content = response.get("content")
        if method == "HEAD" or not content:
            if body:
                raise Wrong(f"{method} {template} {status}: a body where none is described: {body[:80]!r}")
            return
        kind = (content_type or "").split(";")[0]
        if kind not in content:
            raise Wrong(f"{method} {template} {status}: {content_type!r} is not described")
        schema = content[kind].get("schema")
        if schema and kind.endswith("json"):
            texts = body.decode().splitlines() if kind == "application/x-ndjson" else [body]
            try:
                for text in texts:
                    self.check(schema, json.loads(text))
            except Wrong as e:
                raise Wrong(f"{method} {template} {status}: {e}") from None
