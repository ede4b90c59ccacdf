"""OASIS's matcher on lines of `{"pattern": …, "bundle": {…}, "holds": …}`: it must say the same. The tally is the last line.

Exit 0 = it does, 1 = it says otherwise somewhere, 3 = the oracle itself broke.
"""
import json
import sys
import traceback

from stix2matcher.matcher import match


def main():
    asked, other = 0, 0
    with open(sys.argv[1], encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            asked += 1
            said = bool(match(entry["pattern"], [entry["bundle"]], stix_version="2.1"))
            if said != entry["holds"]:
                other += 1
                print(f"{entry['pattern']} on {entry['name']}: {said} here, {entry['holds']} by ATIO")
    print(json.dumps({"oracle": "patterns", "asked": asked, "other": other}))
    return 1 if other else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception:  # a crash must not read as a verdict
        traceback.print_exc()
        sys.exit(3)
