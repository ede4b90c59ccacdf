"""What the oracles share: a file of `{"file": …, "bundle": {…}}` lines in, complaints by file on stdout, the tally last.

Exit 0 = no complaint, 1 = some, 3 = the oracle itself broke.
"""
import collections
import json
import sys
import traceback


def run(name, complaints_of):
    """`complaints_of(bundle)` yields texts."""
    bundles, bad = 0, collections.Counter()
    try:
        with open(sys.argv[1], encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                bundles += 1
                for complaint in complaints_of(entry["bundle"]):
                    bad[entry["file"]] += 1
                    if bad[entry["file"]] <= 5:
                        print(f"{entry['file']}: {entry['bundle'].get('id')}: {complaint[:600]}")
    except Exception:  # a crash must not read as a verdict
        traceback.print_exc()
        sys.exit(3)
    print(json.dumps({"oracle": name, "bundles": bundles, "complaints": sum(bad.values()), "files": len(bad)}))
    sys.exit(1 if bad else 0)
