"""Judges reports of the Autobahn TestSuite and prints one table of them all.

By hand: python3 tests/autobahn/judge.py NAME=REPORT/index.json[:CASES] ...
CASES is the number of cases that the report must hold; a missing case is a failure. A NAME that ends
in `-deflate` is that of a report in which every case was run with compression.

Every case must be OK in what it did (`behavior`) and in how the connection ended
(`behaviorClose`). NON-STRICT, FAILED, UNIMPLEMENTED and everything else is a failure, and so is
INFORMATIONAL but for the cases for which the suite has no other word.
"""

import json
import sys

INFORMATIONAL = {
    "7.1.6",  # whether 256 KiB are echoed before the Close that comes right behind them is answered
    "7.13.1",  # close code 5000, of which RFC 6455 section 7.4.2 says nothing
    "7.13.2",  # close code 65535
}

# What else is right where compression was agreed on. 3.4 sends "Hello, world!" with RSV1, and wants
# 1002. RSV1 is no error there: it says that the message is compressed, and these bytes are not (the
# two lengths of a stored block, RFC 1951 section 3.2.4, disagree), for which the code is 1007.
NEGOTIATED = {
    "3.4": {"behavior": "OK", "behaviorClose": "WRONG CODE", "remoteCloseCode": 1007},
}


def passed(case, result, negotiated):
    """Whether a case went as it must, in what was done and in how the connection ended."""
    if negotiated and case in NEGOTIATED:
        return NEGOTIATED[case].items() <= result.items()
    allowed = {"OK", "INFORMATIONAL"} if case in INFORMATIONAL else {"OK"}
    return result["behavior"] in allowed and result["behaviorClose"] in allowed


def order(case):
    return [int(part) for part in case.split(".")]


def judge(name, report, expected):
    """The rows of the table and the failures of one report."""
    with open(report, encoding="utf-8") as file:
        agents = json.load(file)
    if len(agents) != 1:
        return [], [f"{name}: {len(agents)} agents in the report instead of one"]
    (cases,) = agents.values()

    failures = []
    sections = {}
    negotiated = name.endswith("-deflate")
    for case in sorted(cases, key=order):
        result = cases[case]
        row = sections.setdefault(case.split(".")[0], {"ok": 0, "informational": 0, "failed": 0})
        if not passed(case, result, negotiated):
            row["failed"] += 1
            failures.append(
                f"{name}: case {case}: {result['behavior']}, close {result['behaviorClose']}"
                f" (close code {result['remoteCloseCode']}, {result['reportfile']})"
            )
        elif "INFORMATIONAL" in (result["behavior"], result["behaviorClose"]):
            row["informational"] += 1
        else:
            row["ok"] += 1
    if expected is not None and len(cases) != expected:
        failures.append(f"{name}: {len(cases)} cases in the report instead of {expected}")
    if not cases:
        failures.append(f"{name}: no case was run")
    rows = [[name, section, *row.values()] for section, row in sections.items()]
    total = [sum(row[column] for row in rows) for column in (2, 3, 4)]
    return [*rows, [name, "all", *total]], failures


def main():
    rows, failures = [["report", "section", "ok", "informational", "failed"]], []
    for argument in sys.argv[1:]:
        name, _, path = argument.partition("=")
        path, _, expected = path.partition(":")
        more_rows, more_failures = judge(name, path, int(expected) if expected else None)
        rows += more_rows
        failures += more_failures
    for row in rows:
        print("{:<14} {:>7} {:>6} {:>14} {:>7}".format(*row))
    for failure in failures:
        print(failure)
    sys.exit(1 if failures else 0)


main()
