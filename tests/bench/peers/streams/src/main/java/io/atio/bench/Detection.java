package io.atio.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HashMap;
import java.util.Map;

/** One alert as a detection: the columns as JSON, the lean STIX bundle inside, ids as version 5 UUIDs. Kept between alerts: all buffers. */
final class Detection {
  private static final byte[] SPACE =
      new byte[] {0, (byte) 0xab, (byte) 0xed, (byte) 0xb4, (byte) 0xaa, 0x42, 0x46, 0x6c, (byte) 0x9c, 1, (byte) 0xfe, (byte) 0xd2, 0x33, 0x15, (byte) 0xa9, (byte) 0xb7};
  private static final char[] HEX = "0123456789abcdef".toCharArray();
  private static final String CREATED = "\",\"created_by_ref\":\"identity--4b2c3faf-985c-5f26-ac86-faf82ec52af8\",\"created\":\"2024-01-01T00:00:00.000Z\",\"modified\":\"2024-01-01T00:00:00.000Z\",\"name\":\"";
  private final JsonFactory factory = new JsonFactory();
  private final StringBuilder out = new StringBuilder(8192);
  private final Map<String, String> fields = new HashMap<>(64);
  private final MessageDigest sha1;
  private final MessageDigest sha256;
  private String asset = "";

  Detection() {
    try {
      sha1 = MessageDigest.getInstance("SHA-1");
      sha256 = MessageDigest.getInstance("SHA-256");
    } catch (java.security.NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  byte[] key() {
    return asset.getBytes(StandardCharsets.ISO_8859_1);
  }

  /** Every scalar by its path; the first of a list. */
  private void read(byte[] alert) {
    fields.clear();
    try (JsonParser parser = factory.createParser(alert)) {
      String[] path = new String[16];
      int depth = 0;
      String name = "";
      for (JsonToken t = parser.nextToken(); t != null; t = parser.nextToken()) {
        switch (t) {
          case START_OBJECT -> path[++depth] = depth == 1 ? "" : path[depth - 1] + name + ".";
          case END_OBJECT -> depth--;
          case FIELD_NAME -> name = parser.currentName();
          case START_ARRAY, END_ARRAY -> {}
          default -> fields.putIfAbsent(depth == 1 ? name : path[depth] + name, parser.getText());
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private String f(String name) {
    return fields.getOrDefault(name, "");
  }

  private String id(String seed) {
    sha1.update(SPACE);
    byte[] d = sha1.digest(seed.getBytes(StandardCharsets.UTF_8));
    d[6] = (byte) (d[6] & 0x0f | 0x50);
    d[8] = (byte) (d[8] & 0x3f | 0x80);
    char[] c = new char[36];
    for (int i = 0, o = 0; i < 16; i++) {
      if (i == 4 || i == 6 || i == 8 || i == 10) {
        c[o++] = '-';
      }
      c[o++] = HEX[d[i] >> 4 & 15];
      c[o++] = HEX[d[i] & 15];
    }
    return new String(c);
  }

  private static String hex(byte[] bytes) {
    char[] c = new char[bytes.length * 2];
    for (int i = 0; i < bytes.length; i++) {
      c[2 * i] = HEX[bytes[i] >> 4 & 15];
      c[2 * i + 1] = HEX[bytes[i] & 15];
    }
    return new String(c);
  }

  private StringBuilder text(String value) {
    for (int i = 0; i < value.length(); i++) {
      char c = value.charAt(i);
      if (c == '"' || c == '\\') {
        out.append('\\').append(c);
      } else if (c < 0x20) {
        out.append(String.format("\\u%04x", (int) c));
      } else {
        out.append(c);
      }
    }
    return out;
  }

  private void column(String name, String value) {
    out.append('"').append(name).append("\":\"");
    text(value).append("\",");
  }

  private void object(String type, String id) {
    out.append("{\"type\":\"").append(type).append("\",\"spec_version\":\"2.1\",\"id\":\"").append(type).append("--").append(id);
  }

  byte[] of(byte[] alert, long offset) {
    read(alert);
    out.setLength(0);
    String src = f("src_ip");
    String dst = f("dest_ip");
    String time = f("timestamp").substring(0, 23) + "Z";
    String start = f("flow.start").substring(0, 26) + "Z";
    asset = "ip:" + dst;
    String event = id("default|bench|" + offset);
    String rule = f("alert.gid") + ":" + f("alert.signature_id");
    String sum = hex(sha256.digest(alert));
    out.append('{');
    columns(event, rule, time, start, sum, offset);
    bundle(src, dst, event, time, start);
    out.append("}");
    return out.toString().getBytes(StandardCharsets.UTF_8);
  }

  private void columns(String event, String rule, String time, String start, String sum, long offset) {
    column("event_id", event);
    column("kind", "threat");
    column("category", "alert");
    column("tenant", "default");
    column("zone", "it");
    column("source", "bench");
    column("product", "Suricata");
    column("sensor", "bench");
    column("rule_id", rule);
    column("rule_rev", f("alert.rev"));
    column("rule_name", f("alert.signature"));
    column("severity_raw", f("alert.metadata.signature_severity"));
    out.append("\"severity_id\":4,\"severity_score\":75.0,");
    column("disposition", f("alert.action"));
    column("cve", f("alert.metadata.cve").replace('_', '-'));
    column("tactic", f("alert.metadata.mitre_tactic_id"));
    column("technique", f("alert.metadata.mitre_technique_id"));
    column("asset", asset);
    column("asset_resolved_by", "address");
    column("direction", f("direction"));
    column("actor", f("src_ip"));
    column("target", f("dest_ip"));
    out.append("\"src_port\":").append(f("src_port")).append(",\"dst_port\":").append(f("dest_port")).append(',');
    column("proto", f("proto"));
    column("domain", f("http.hostname"));
    column("url", "http://" + f("http.hostname") + f("http.url"));
    column("community_id", f("community_id"));
    column("flow_id", f("flow_id"));
    column("occurred_at", start);
    column("reported_at", time);
    column("label", f("alert.category"));
    column("raw_ref", "bench/0/" + offset);
    column("raw_sha256", sum);
  }

  private void bundle(String src, String dst, String event, String time, String start) {
    String srcId = id("{\"value\":\"" + src + "\"}");
    String dstId = id("{\"value\":\"" + dst + "\"}");
    String host = f("http.hostname");
    String url = "http://" + host + f("http.url");
    String hostId = id("{\"value\":\"" + host + "\"}");
    String urlId = id("{\"value\":\"" + url + "\"}");
    String technique = f("alert.metadata.mitre_technique_id");
    String patternId = id("attack-pattern|" + technique);
    String assetId = id("identity|" + asset);
    String traffic = id("{\"dst_port\":" + f("dest_port") + ",\"dst_ref\":\"ipv4-addr--" + dstId + "\",\"protocols\":[\"ipv4\",\"tcp\",\"http\"],\"src_port\":" + f("src_port") + ",\"src_ref\":\"ipv4-addr--" + srcId + "\",\"start\":\"" + start + "\"}");
    String relation = id("targets|" + patternId + "|" + assetId);
    String observed = id("observed-data|" + event);
    out.append("\"bundle\":{\"type\":\"bundle\",\"id\":\"bundle--").append(id("bundle|" + event)).append("\",\"objects\":[");
    object("identity", "08b47f3f-f30c-50bd-97de-84ad7fe080ef");
    out.append(CREATED).append("bench\",\"identity_class\":\"system\"},");
    object("identity", assetId);
    out.append(CREATED).append(asset).append("\",\"identity_class\":\"system\"},");
    object("attack-pattern", patternId);
    out.append(CREATED).append(technique).append("\",\"external_references\":[{\"source_name\":\"mitre-attack\",\"external_id\":\"").append(technique).append("\"}]},");
    object("relationship", relation);
    out.append(CREATED, 0, CREATED.length() - 9).append(",\"relationship_type\":\"targets\",\"source_ref\":\"attack-pattern--").append(patternId).append("\",\"target_ref\":\"identity--").append(assetId).append("\"},");
    object("ipv4-addr", srcId);
    out.append("\",\"value\":\"").append(src).append("\"},");
    object("ipv4-addr", dstId);
    out.append("\",\"value\":\"").append(dst).append("\"},");
    object("network-traffic", traffic);
    out.append("\",\"start\":\"").append(start).append("\",\"src_ref\":\"ipv4-addr--").append(srcId).append("\",\"dst_ref\":\"ipv4-addr--").append(dstId);
    out.append("\",\"src_port\":").append(f("src_port")).append(",\"dst_port\":").append(f("dest_port")).append(",\"protocols\":[\"ipv4\",\"tcp\",\"http\"],\"src_byte_count\":").append(f("flow.bytes_toserver"));
    out.append(",\"dst_byte_count\":").append(f("flow.bytes_toclient")).append(",\"src_packets\":").append(f("flow.pkts_toserver")).append(",\"dst_packets\":").append(f("flow.pkts_toclient"));
    out.append(",\"extensions\":{\"http-request-ext\":{\"request_header\":{\"Host\":[\"");
    text(host).append("\"],\"User-Agent\":[\"");
    text(f("http.http_user_agent")).append("\"]},\"request_method\":\"").append(f("http.http_method")).append("\",\"request_value\":\"");
    text(f("http.url")).append("\",\"request_version\":\"HTTP/1.1\"}}},");
    object("domain-name", hostId);
    out.append("\",\"value\":\"");
    text(host).append("\"},");
    object("url", urlId);
    out.append("\",\"value\":\"");
    text(url).append("\"},");
    object("observed-data", observed);
    out.append("\",\"created_by_ref\":\"identity--4b2c3faf-985c-5f26-ac86-faf82ec52af8\",\"created\":\"").append(time).append("\",\"modified\":\"").append(time);
    out.append("\",\"first_observed\":\"").append(start).append("\",\"last_observed\":\"").append(time).append("\",\"number_observed\":1,\"object_refs\":[\"ipv4-addr--");
    out.append(srcId).append("\",\"ipv4-addr--").append(dstId).append("\",\"network-traffic--").append(traffic).append("\",\"domain-name--").append(hostId).append("\",\"url--").append(urlId);
    out.append("\"],\"object_marking_refs\":[\"marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421\"]}]}");
  }
}
