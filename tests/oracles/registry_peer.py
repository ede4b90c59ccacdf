"""Confluent's own client against our registry and broker: register, look up, evolve, refuse, write and read back.

registry_peer.py BOOTSTRAP REGISTRY TOPIC. Exit 0 = all as with Confluent's registry; each step is named on stdout.
"""
import json
import sys

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

FIRST = {"type": "record", "name": "Peer", "namespace": "test", "fields": [{"name": "id", "type": "long"}]}
SECOND = {**FIRST, "fields": [*FIRST["fields"], {"name": "note", "type": ["null", "string"], "default": None}]}
BROKEN = {**FIRST, "fields": [*FIRST["fields"], {"name": "must", "type": "string"}]}


def schema(tree):
    return Schema(json.dumps(tree), "AVRO")


def refused(call, status):
    try:
        call()
    except SchemaRegistryError as error:
        assert error.http_status_code == status, error
        return error
    raise AssertionError("was not refused")


def registry(client, subject):
    first = client.register_schema(subject, schema(FIRST))
    assert client.register_schema(subject, schema(FIRST)) == first, "the same schema keeps its id"
    spaced = Schema(json.dumps(FIRST, indent=4), "AVRO")
    assert client.register_schema(subject, spaced) == first, "blanks do not make a schema"
    found = client.lookup_schema(subject, schema(FIRST))
    assert (found.schema_id, found.version, found.subject) == (first, 1, subject), found
    assert json.loads(client.get_schema(first).schema_str) == FIRST
    assert subject in client.get_subjects()
    print("registered and looked up")
    assert client.test_compatibility(subject, schema(SECOND)) is True
    assert client.test_compatibility(subject, schema(BROKEN)) is False
    refused(lambda: client.register_schema(subject, schema(BROKEN)), 409)
    second = client.register_schema(subject, schema(SECOND))
    assert second != first and client.get_versions(subject) == [1, 2]
    latest = client.get_latest_version(subject)
    assert (latest.version, latest.schema_id) == (2, second), latest
    assert client.get_version(subject, 1).schema_id == first
    print("evolved and refused")
    missing = refused(lambda: client.get_latest_version(subject + "-missing"), 404)
    assert missing.error_code == 40401, missing
    assert refused(lambda: client.get_schema(2_000_000_000), 404).error_code == 40403
    print("missing is missing")


def round_trip(bootstrap, url, topic):
    client = SchemaRegistryClient({"url": url})
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(topic, 3, 1)]).values():
        future.result(20)
    context = SerializationContext(topic, MessageField.VALUE)
    encode = AvroSerializer(client, json.dumps(SECOND))
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": "lz4"})
    sent = [{"id": n, "note": None if n % 2 else f"n{n}"} for n in range(500)]
    for one in sent:
        producer.produce(topic, key=str(one["id"]), value=encode(one, context))
        producer.poll(0)
    assert producer.flush(30) == 0, "not all were acknowledged"
    decode = AvroDeserializer(SchemaRegistryClient({"url": url}))
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    seen = []
    while len(seen) < len(sent):
        message = consumer.poll(20)
        assert message is not None, f"{len(seen)} of {len(sent)} came"
        assert not message.error(), message.error()
        seen.append(decode(message.value(), context))
    consumer.close()
    assert sorted(seen, key=lambda one: one["id"]) == sent
    print("wrote and read back")


if __name__ == "__main__":
    client = SchemaRegistryClient({"url": sys.argv[2]})
    registry(client, f"{sys.argv[3]}-value")
    round_trip(sys.argv[1], sys.argv[2], sys.argv[3])
