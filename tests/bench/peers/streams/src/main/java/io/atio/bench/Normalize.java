package io.atio.bench;

import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;

/**
 * What normalization does, on Kafka Streams with exactly_once_v2: one alert in, one detection with its STIX bundle out. Tuned: streaming JSON
 * parser, hand-written output, one thread, no stores, commits every 100 ms, lz4.
 *
 * Arguments: BOOTSTRAP INPUT OUTPUT APPLICATION WARM-OUTPUT RECORDS. Reads the whole input once under another name first, so that what is
 * measured runs compiled.
 */
public final class Normalize {
  private Normalize() {}

  static final class Step extends ContextualProcessor<byte[], byte[], byte[], byte[]> {
    private final Detection detection = new Detection();
    private final long[] done;

    Step(long[] done) {
      this.done = done;
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
      byte[] value = detection.of(record.value(), context().recordMetadata().map(m -> m.offset()).orElse(0L));
      context().forward(record.withKey(detection.key()).withValue(value));
      done[0]++;
    }
  }

  static KafkaStreams start(String bootstrap, String input, String output, String application, long[] done) {
    Topology topology = new Topology();
    var bytes = Serdes.ByteArray();
    topology.addSource("in", bytes.deserializer(), bytes.deserializer(), input);
    topology.addProcessor("normalize", () -> new Step(done), "in");
    topology.addSink("out", output, bytes.serializer(), bytes.serializer(), "normalize");
    Properties p = new Properties();
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
    p.put(StreamsConfig.STATE_DIR_CONFIG, System.getProperty("java.io.tmpdir") + "/" + application);
    p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
    p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
    p.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
    p.put(StreamsConfig.METRICS_RECORDING_LEVEL_CONFIG, "INFO");
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 2000);
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 << 20);
    p.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 5000);
    p.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
    p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 512 * 1024);
    p.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
    KafkaStreams streams = new KafkaStreams(topology, p);
    streams.start();
    return streams;
  }

  public static void main(String[] a) throws Exception {
    long records = Long.parseLong(a[5]);
    long[] warm = new long[1];
    try (KafkaStreams streams = start(a[0], a[1], a[4], a[3] + "-warm", warm)) {
      while (warm[0] < records) {
        Thread.sleep(20);
      }
      streams.close(Duration.ofSeconds(20));
    }
    start(a[0], a[1], a[2], a[3], new long[1]);
    Thread.currentThread().join();
  }
}
