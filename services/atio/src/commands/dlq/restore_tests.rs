//! What goes out for which letter.
use super::*;
use crate::commands::dlq::letter::tests::entry;
use atio_schemas::codec::StaticIds;

fn codec() -> Codec {
    Codec::new(Arc::new(StaticIds::new()))
}

fn site() -> Site {
    Site {
        prefix: "atio.".into(),
        topics: [("atio.raw.x", 3), ("atio.waits", 3), ("eve", 1)].map(|(t, n)| (t.to_owned(), n)).into(),
        limits: [(Arc::from("atio.raw.x"), 100_000)].into(),
        groups: ["atio.normalization".to_owned(), "atio.incidents".to_owned()].into(),
        edit: Edit::None,
        adopted: false,
        again: false,
    }
}

fn event(payload: &[u8]) -> RawEvent {
    RawEvent {
        sensor: Some("fw".into()),
        file: Some("f".into()),
        file_offset: Some(1000),
        ..bare(Letter(&entry(&[], payload)), "x")
    }
}

fn restore(site: &Site, entry: &Entry) -> Result<Restored, Refused> {
    site.restore(entry, &codec(), &mut |_, _| None)
}

fn text<'o>(output: &'o Output, name: &str) -> Option<&'o str> {
    output.headers.text(name)
}

#[test]
fn a_whole_record_goes_back_as_it_was() {
    let mut letter =
        entry(&[("code", "invalid_json"), ("attempt", "2"), ("first_seen", "2026-01-02T03:04:05Z")], b"v");
    letter.headers.set("bin", vec![0xff, 0]);
    let restored = restore(&site(), &letter).unwrap();
    let out = &restored.output;
    assert_eq!((&*out.topic, out.partition, out.key.as_deref()), ("atio.raw.x", Some(1), Some(&b"k"[..])));
    assert_eq!(out.value.as_deref(), Some(&b"v"[..]));
    assert!(!out.headers.0.iter().any(|(name, _)| name.starts_with("atio.errors.")));
    assert_eq!((text(out, "ce_id"), out.headers.get("bin")), (Some("7"), Some(&[0xff, 0][..])));
    assert_eq!(text(out, "atio.replay.letter"), Some("atio.raw.x.dlq/1/5"));
    assert_eq!(text(out, "atio.replay.stage"), Some("normalization"));
    assert_eq!(text(out, "atio.replay.place"), Some("atio.raw.x/1/22"));
    assert_eq!(text(out, "atio.replay.attempts"), Some("2"));
    assert_eq!(text(out, "atio.replay.first_seen"), Some("2026-01-02T03:04:05Z"));
    assert_eq!((text(out, "atio.replay.part"), text(out, "atio.replay.emitted")), (None, None));
    assert!(restored.warnings.is_empty() && restored.edited.is_none());
}

#[test]
fn a_second_replay_keeps_where_the_record_lay_first() {
    let mut letter = entry(&[("emitted", "00 11"), ("offset", "80")], b"v");
    letter.headers.set("atio.replay.letter", "atio.raw.x.dlq/1/2");
    letter.headers.set("atio.replay.place", "atio.raw.x/1/22");
    letter.headers.set("atio.replay.part", "40");
    let out = restore(&site(), &letter).unwrap().output;
    assert_eq!(text(&out, "atio.replay.place"), Some("atio.raw.x/1/22"));
    assert_eq!(text(&out, "atio.replay.letter"), Some("atio.raw.x.dlq/1/5"));
    assert_eq!(
        (text(&out, "atio.replay.part"), text(&out, "atio.replay.emitted")),
        (Some("40"), Some("00 11"))
    );
}

#[test]
fn a_part_goes_back_in_the_envelope_of_its_record() {
    let letter = entry(&[("part_offset", "300")], b"{bad}");
    let mut asked = vec![];
    let restored = site().restore(&letter, &codec(), &mut |topic, at| {
        asked.push(format!("{topic}/{at}"));
        Some(event(b"good {bad} good"))
    });
    let restored = restored.unwrap();
    assert_eq!(asked, ["atio.raw.x/1/22"]);
    let sent: RawEvent = codec().decode(restored.output.value.as_deref().unwrap()).unwrap();
    assert_eq!((sent.payload.as_slice(), sent.sensor.as_deref()), (&b"{bad}"[..], Some("fw")));
    assert_eq!(sent.file_offset, Some(1300), "where it stands in the file");
    assert_eq!(text(&restored.output, "atio.replay.part"), Some("300"));
    let lost = restore(&site(), &letter).unwrap();
    assert_eq!(lost.warnings, [Warning::EnvelopeLost]);
    let sent: RawEvent = codec().decode(lost.output.value.as_deref().unwrap()).unwrap();
    assert_eq!((sent.source.as_str(), sent.sensor, sent.file), ("x", None, None));
    assert_eq!(lost.output.key.as_deref(), Some(&b"k"[..]));
}

#[test]
fn a_line_that_never_was_a_record_becomes_one() {
    let mut letter = entry(
        &[
            ("stage", "ingestion"),
            ("code", "bad_encoding"),
            ("file", "id"),
            ("path", "/var/log/x"),
            ("part_offset", "77"),
        ],
        b"\xffline",
    );
    letter.headers.0.retain(|(n, _)| &**n != "atio.errors.partition" && &**n != "atio.errors.offset");
    letter.key = None;
    let out = restore(&site(), &letter).unwrap().output;
    let sent: RawEvent = codec().decode(out.value.as_deref().unwrap()).unwrap();
    assert_eq!((sent.file.as_deref(), sent.file_offset), (Some("id"), Some(77)));
    assert_eq!(
        (sent.payload.as_slice(), sent.received_from.as_deref()),
        (&b"\xffline"[..], Some("/var/log/x"))
    );
    assert_eq!(
        (text(&out, "ce_id"), text(&out, "atio.replay.stage"), out.partition),
        (Some("id/77"), None, None)
    );
    assert_eq!((text(&out, "atio.replay.place"), text(&out, "atio.replay.part")), (None, None));
    letter.headers.set("atio.errors.code", "too_large");
    assert_eq!(restore(&site(), &letter).unwrap_err(), Refused::Elsewhere);
    let set = Site { edit: Edit::Set(b"short".to_vec()), ..site() };
    assert!(restore(&set, &letter).unwrap().edited.is_some());
}

#[test]
fn what_was_held_goes_back_under_its_incident() {
    let ack = serde_json::json!({"ack_id": "a", "incident_id": "i-1", "action": "comment", "actor": "carol", "sent_at": "2026-01-02T03:04:05Z"});
    let value = codec().edited("atio.ack", &ack).unwrap();
    let reasons = [("topic", "atio.waits"), ("stage", "incidents"), ("offset", "-1"), ("anew", "true")];
    let out = restore(&site(), &entry(&reasons, &value)).unwrap().output;
    assert_eq!((out.key.as_deref(), text(&out, "atio.replay.anew")), (Some(&b"i-1"[..]), Some("true")));
    assert_eq!(text(&out, "atio.replay.place"), None);
    assert_eq!(restore(&site(), &entry(&reasons, b"x")).unwrap_err().code(), "unreadable");
    // What a branch had delayed goes back under its asset.
    let text =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/examples/atio.routed/full.json"));
    let routed: serde_json::Value = serde_json::from_slice(&text.unwrap()).unwrap();
    let value = codec().edited("atio.routed", &routed).unwrap();
    let out = restore(&site(), &entry(&reasons, &value)).unwrap().output;
    assert_eq!(out.key.as_deref(), routed["detection"]["asset"].as_str().map(str::as_bytes));
}

#[test]
fn what_can_not_go_back_says_why() {
    let code = |site: &Site, entry: &Entry| restore(site, entry).map(|_| ()).map_err(|e| e.code());
    let mut foreign = entry(&[], b"v");
    foreign.headers = Headers::default();
    assert_eq!(code(&site(), &foreign), Err("no_origin"));
    assert_eq!(code(&site(), &entry(&[("topic", "atio.raw.gone")], b"v")), Err("topic_gone"));
    let adopted = entry(&[("topic", "eve"), ("partition", "0")], b"v");
    assert_eq!(code(&site(), &adopted), Err("adopted"));
    let out = restore(&Site { adopted: true, ..site() }, &adopted).unwrap().output;
    assert_eq!((&*out.topic, out.value.as_deref()), ("eve", Some(&b"v"[..])));
    assert_eq!(code(&site(), &entry(&[], &[b'v'; 100_000])), Err("too_large"));
    let many = entry(&[("emitted", "*")], b"v");
    assert_eq!(code(&site(), &many), Err("too_many"));
    assert_eq!(code(&Site { again: true, ..site() }, &many), Ok(()));
    let merge = Site { edit: Edit::Merge(serde_json::json!({})), ..site() };
    assert_eq!(code(&merge, &entry(&[], b"no json")), Err("not_editable"));
}

#[test]
fn who_would_be_surprised_is_warned() {
    let warned = |reasons: &[(&str, &str)]| restore(&site(), &entry(reasons, b"v")).unwrap().warnings;
    assert_eq!(warned(&[("stage", "routing.gone.siem")]), [Warning::NobodyReads]);
    assert_eq!(warned(&[("partition", "7")]), [Warning::OtherPartition]);
}

#[test]
fn an_edit_is_told_by_its_hashes() {
    let set = |bytes: &[u8]| Site { edit: Edit::Set(bytes.to_vec()), ..site() };
    let (before, after) = restore(&set(b"w"), &entry(&[], b"v")).unwrap().edited.unwrap();
    assert_eq!((before, after), (hash(b"v"), hash(b"w")));
    assert_eq!(restore(&set(b"v"), &entry(&[], b"v")).unwrap().edited, None, "nothing was changed");
}
