//! One hop: each event once, as what it is.
use super::*;
use atio_schemas::{codec::StaticIds, detection::Kind};

fn codec() -> Codec {
    Codec::new(Arc::new(StaticIds::new()))
}

fn detection(event: &str, labels: &[&str]) -> Detection {
    let labels = labels.iter().map(|l| (*l).to_owned()).collect();
    Detection { labels, ..Detection::new(event.into(), Kind::Threat, "default", "s") }
}

fn headers(event: &str, origin: &str) -> Headers {
    let mut headers = Headers::default();
    headers.set(header::CE_ID, event);
    headers.set(header::ORIGIN, origin);
    headers
}

fn entry(offset: i64, key: &str, origin: &str, d: &Detection) -> Entry {
    Entry {
        topic: "detections".into(),
        partition: 1,
        offset,
        timestamp: Timestamp(offset),
        key: Some(key.into()),
        value: Some(codec().encode(d).unwrap()),
        headers: headers(&d.event_id, origin),
    }
}

fn output(key: &str, d: &Detection) -> Output {
    Output::new("detections", key, codec().encode(d).unwrap(), headers(&d.event_id, "o"))
}

#[test]
fn each_event_is_one_of_four() {
    let mut hop = Hop::new("detections", vec!["detections".into(), "logs".into()], &codec(), 9);
    let then = [
        entry(0, "a", "o1", &detection("same", &[])),
        entry(1, "a", "o2", &detection("changed", &[])),
        entry(2, "a", "o3", &detection("missing", &[])),
        entry(3, "a", "o4", &detection("moved", &[])),
        entry(4, "b", "elsewhere", &detection("of before", &[])),
    ];
    then.iter().for_each(|entry| hop.then(entry).unwrap());
    let made = [
        ("a", detection("same", &[])),
        ("a", detection("changed", &["x"])),
        ("b", detection("moved", &["y"])),
        ("b", detection("new", &[])),
        ("c", detection("nowhere", &[])),
        ("a", detection("same", &["again"])),
    ];
    for (key, d) in &made {
        hop.now(&output(key, d), Timestamp(7)).unwrap();
    }
    let other = Output::new("incident-events", "k", vec![], Headers::default());
    hop.now(&other, Timestamp(7)).unwrap();

    let origins = ["o1", "o2", "o3", "o4"].map(id).into();
    let coming = |hop: &mut Hop, topic, partition| -> BTreeSet<String> {
        let event = |fed: Fed| fed.headers.text(header::CE_ID).unwrap().to_owned();
        hop.coming(topic, partition).into_iter().map(event).collect()
    };
    assert_eq!(coming(&mut hop, "detections", 1), ["moved".to_owned(), "new".to_owned()].into());
    assert_eq!(coming(&mut hop, "detections", 0), ["nowhere".to_owned()].into(), "a key that was never seen");
    assert!(coming(&mut hop, "logs", 1).is_empty());
    assert!(matches!(hop.way(&then[0], &origins), Way::AsItWas));
    let Way::Instead(fed) = hop.way(&then[1], &origins) else { panic!("another in its place") };
    assert_eq!((fed.offset, fed.at), (Some(1), Timestamp(1)), "where the other lay");
    assert!(matches!(hop.way(&then[2], &origins), Way::Missing));
    assert!(matches!(hop.way(&then[3], &origins), Way::Not), "it comes elsewhere");
    assert!(matches!(hop.way(&then[4], &origins), Way::Not), "it is not replayed");
    assert!(matches!(hop.way(&then[2], &origins), Way::Missing));
    let counts = &hop.counts;
    assert_eq!((counts.same, counts.changed, counts.new, counts.missing), (1, 2, 2, 1), "each once");
    assert_eq!(counts.columns, [("labels".to_owned(), 2)].into());
    assert_eq!(hop.examples.len(), 5);
    assert!(counts.differs() && !Counts { same: 1, ..Counts::default() }.differs());
}
