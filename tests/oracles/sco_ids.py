"""The ids of STIX observables, recomputed by the stix2 library; and ports, which only portless protocols may lack."""
import json
import uuid

import stix2
from stix2.registry import class_for_type

import judge

PORTED = {"tcp", "udp", "sctp", "dccp"}
# What the standard gives no contributing properties: the library draws a random id.
FREE = {"process"}
known = {}


def recomputed(obj):
    kind = class_for_type(obj["type"], "2.1", "observables")
    given = {k: v for k, v in obj.items() if k not in ("id", "type", "spec_version")}
    return kind(allow_custom=True, **given).id


def complaints(bundle):
    for obj in bundle["objects"]:
        if class_for_type(obj["type"], "2.1", "observables") is None:
            continue
        text = json.dumps(obj, sort_keys=True)
        if text not in known:
            known[text] = list(judge_one(obj))
        yield from known[text]


def judge_one(obj):
    ours = obj["id"]
    if obj["type"] in FREE:
        if uuid.UUID(ours.split("--")[1]).version != 4:
            yield f"{ours}: not shaped like version 4"
    else:
        try:
            theirs = recomputed(obj)
        except (stix2.exceptions.STIXError, ValueError, TypeError) as error:
            yield f"{ours}: stix2 refuses it: {error}"
            return
        if ours != theirs:
            yield f"{ours}: stix2 computes {theirs}: {json.dumps(obj)}"
    if obj["type"] == "network-traffic" and PORTED & set(obj["protocols"]):
        for port in ("src_port", "dst_port"):
            if port not in obj:
                yield f"{ours}: {port} is missing with {obj['protocols']}"


if __name__ == "__main__":
    judge.run("sco_ids", complaints)
