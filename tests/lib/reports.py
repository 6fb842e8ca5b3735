#!/usr/bin/env python3
"""Holds reports against doc/report.schema.json: tests/lib/reports.py FILE, which has lines "NAME<TAB>REPORT"."""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import json_schema  # noqa: E402

SCHEMA = json.loads((HERE.parent.parent / "doc" / "report.schema.json").read_text())
CHECKER = json_schema.Checker(SCHEMA)


def refuse_twice(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def refuse_word(word):
    raise ValueError(f"{word} is no JSON")


def parse(text):
    return json.loads(text, object_pairs_hook=refuse_twice, parse_constant=refuse_word)


def errors(report):
    """Of a report, or of its text."""
    try:
        return CHECKER.errors(parse(report) if isinstance(report, (str, bytes)) else report)
    except ValueError as e:
        return [str(e)]


def of_output(text):
    """The report that a command printed last; None where it printed none."""
    line = (text.splitlines() or [""])[-1]
    return line if line.startswith('{"halftone"') else None


def main():
    failed = 0
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in file:
            name, _, report = line.rstrip("\n").partition("\t")
            for error in errors(report):
                print(f"FAILED {name}: the report is not as doc/report.schema.json says: {error}")
                failed = 1
    sys.exit(failed)


if __name__ == "__main__":
    main()
