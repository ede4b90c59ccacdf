"""OASIS's validator over bundles: strict, without 103 (demands version 4 of every UUID) and 301 (refuses ICMP without ports).

Beside it: a bundle that leaves is self-contained, so that no reference points out of it.
"""
import json
import re

from stix2validator import ValidationOptions, validate_instance

import judge

OPTIONS = ValidationOptions(strict=True, version="2.1", disabled="103,301")


IDENTIFIER = re.compile(r"^[a-z0-9-]+--[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")


def references(obj):
    """Every identifier that a property named `…_ref` or `…_refs` holds."""
    for name, value in obj.items():
        if name.endswith(("_ref", "_refs")):
            named = value if isinstance(value, list) else [value]
            yield from ((name, one) for one in named if isinstance(one, str) and IDENTIFIER.match(one))
        elif isinstance(value, dict):
            yield from references(value)
        elif isinstance(value, list):
            for one in value:
                if isinstance(one, dict):
                    yield from references(one)


def complaints(bundle):
    result = validate_instance(bundle, OPTIONS)
    if not result.is_valid:
        for error in result.errors or ["invalid, without a reason"]:
            yield str(error)
    objects = bundle.get("objects", [])
    ids = {o.get("id") for o in objects}
    seen = {}
    for obj in objects:
        version = (obj.get("id"), obj.get("modified"))
        if version in seen:
            yield f"twice in one bundle: {version}"
        seen[version] = obj
        for name, target in references(obj):
            if target not in ids:
                yield f"{obj.get('id')}: {name} points out of the bundle: {target}"
    if not objects:
        yield "no objects: " + json.dumps(bundle)


if __name__ == "__main__":
    judge.run("validate", complaints)
