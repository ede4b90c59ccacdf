//! Documents and their chunks.
use super::*;

fn document(content: &[u8]) -> Document {
    Document {
        path: "x".to_owned(),
        sha256: hash::sha256(content),
        size: content.len() as u64,
        content: content.to_vec(),
    }
}

fn show(format: Option<&str>, content: &[u8]) -> Vec<(u64, String)> {
    let document = document(content);
    let parts = divide(format, &document);
    parts.iter().map(|p| (p.offset, p.reject.as_ref().map_or("ok".to_owned(), |r| r.0.to_string()))).collect()
}

#[test]
fn documents_divide_by_their_shape() {
    let ok = |offset| (offset, "ok".to_owned());
    assert_eq!(
        show(Some("suricata"), b"{\"a\":1}\n{\"b\n{\"c\":3}\n"),
        [ok(0), (8, "truncated".to_owned()), ok(12)]
    );
    assert_eq!(show(Some("openvas-xml"), b"<report/>"), [ok(0)]);
    assert_eq!(show(None, b" \n"), [(0, "empty".to_owned())]);
    assert_eq!(show(None, b"hello"), [(0, "unknown_format".to_owned())]);
    let large = vec![b'<'; MAX_BYTES + 1];
    assert_eq!(show(Some("openvas-xml"), &large), [(0, "too_large".to_owned())]);
    let whole = document(&large);
    assert!(divide(Some("openvas-xml"), &whole)[0].raw.is_none());
}

#[test]
fn chunks_join_to_the_whole_from_any_start() {
    let content: Vec<u8> = (0..25_000).flat_map(|n| format!("{{\"n\":{n}}}\n").into_bytes()).collect();
    let document = document(&content);
    let parts = divide(Some("suricata"), &document);
    assert_eq!(parts.len(), 25_000);
    let (mut from, mut seen, mut rounds) = (0, vec![], 0);
    loop {
        let (chunk, next) = chunk(&parts, from);
        assert!(chunk.len() <= BATCH_RECORDS);
        seen.extend(chunk.iter().map(|p| p.offset));
        rounds += 1;
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!((seen.len(), rounds), (25_000, 3));
    assert!(seen.is_sorted_by(|a, b| a < b));
    let big = vec![b'x'; 3 << 20];
    let parts: Vec<Part> = (0..3).map(|n| Part { raw: Some(&big), offset: n, reject: None }).collect();
    assert_eq!(chunk(&parts, 0).1, Some(1));
}

#[test]
fn a_file_is_ready_when_two_looks_agree_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!(
        "apiVersion: atio/v1\nkind: Source\nmetadata: {{name: d}}\nfrom: {{directory: {{path: {:?}, glob: '*.json'}}}}\n",
        folder.path()
    );
    let Ok(atio_topics::load::Declaration::Source(source)) =
        atio_topics::load::parse("sources/d.yaml", &yaml)
    else {
        panic!("a source")
    };
    let metrics =
        crate::metrics::IngestionMetrics::new(&atio_metric::Metrics::default().service("ingestion")).unwrap();
    let codec = atio_schemas::Codec::new(std::sync::Arc::new(atio_schemas::codec::StaticIds::new()));
    let deps = Deps::new(atio_stream::Kafka::default(), "t.", codec, metrics, PathBuf::new());
    let mut directory = Directory::new(&deps, source).unwrap();
    let path = folder.path().join("a.json");
    fs::write(&path, "{\"event_type\":1").unwrap();
    fs::write(folder.path().join("b.txt"), "no").unwrap();
    assert!(directory.look().unwrap().is_empty());
    fs::write(&path, "{\"event_type\":1}\n").unwrap();
    assert!(directory.look().unwrap().is_empty(), "it grew");
    let ready = directory.look().unwrap();
    assert_eq!(ready.len(), 1);
    let document = directory.read(&ready[0].0, ready[0].1).unwrap().unwrap();
    assert_eq!(document.sha256, hash::sha256(b"{\"event_type\":1}\n"));
    directory.settled.insert(ready[0].0.clone(), ready[0].1);
    assert!(directory.look().unwrap().is_empty(), "read once");
    fs::write(&path, "{\"event_type\":12}\n").unwrap();
    assert!(directory.read(&ready[0].0, ready[0].1).unwrap().is_none(), "it changed");
}
