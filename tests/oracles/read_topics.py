"""An outside judge of topics and registry: reads topics with confluent-kafka and decodes them through the registry.

read_topics.py BOOTSTRAP REGISTRY OUT TOPIC… writes to OUT a JSON line for each committed record that is there now:
{"topic","partition","offset","key","headers","value"}. The tally is the last line on stdout. Exit 3 = a record can't be read or decoded.
"""
import collections
import datetime
import json
import sys
import time
import traceback

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

PATIENCE = 120


def plain(value):
    """What JSON has no word for: times in microseconds, bytes of a bundle as what they say."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, bytes):
        try:
            return json.loads(value)
        except ValueError:
            return {"bytes": len(value)}
    raise TypeError(type(value))


def main(bootstrap, registry, out, topics):
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": "outside",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    })
    decode = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    known = consumer.list_topics(timeout=20).topics
    left = {(t, p) for t in topics for p in known[t].partitions}
    consumer.assign([TopicPartition(t, p, OFFSET_BEGINNING) for t, p in left])
    counts = collections.Counter({t: 0 for t in topics})
    deadline = time.monotonic() + PATIENCE
    with open(out, "w", encoding="utf-8") as lines:
        while left:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not at the end of {sorted(left)}")
            message = consumer.poll(0.5)
            if message is None:
                continue
            if message.error():
                if message.error().code() != KafkaError._PARTITION_EOF:
                    raise RuntimeError(message.error())
                left.discard((message.topic(), message.partition()))
                continue
            context = SerializationContext(message.topic(), MessageField.VALUE)
            record = {
                "topic": message.topic(),
                "partition": message.partition(),
                "offset": message.offset(),
                "key": None if message.key() is None else message.key().decode(),
                "headers": {k: None if v is None else v.decode() for k, v in message.headers() or []},
                "value": decode(message.value(), context),
            }
            lines.write(json.dumps(record, default=plain) + "\n")
            counts[message.topic()] += 1
    consumer.close()
    print(json.dumps(counts))


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
    except Exception:  # a crash must not read as a verdict
        traceback.print_exc()
        sys.exit(3)
