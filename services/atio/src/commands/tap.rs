//! `atio tap TOPIC`: what is on a topic, one JSON object a record. Owns that form; must not know what a record means.
use crate::{
    commands::look::{Decoder, Look, full_name, look, read_error},
    endpoints::Target,
    exit::Exit,
    render,
};
use atio_schemas::{
    Timestamp,
    codec::{bytes, schema_id},
    header,
};
use atio_stream::read::{Entry, From, Next, ReadSpec, TopicReader, Until};
use serde_json::{Map, Value, json};
use std::time::Duration;

const CLIENT: &str = "atio-tap";

/// Print the records of a topic, one JSON object a line
///
/// `{topic,partition,offset,timestamp,key,headers,value}`. Only committed records are shown. Avro is decoded through the registry (bytes as base64); JSON is shown as it is, other text as a
/// string; what can't be decoded as `value_base64` with an `error`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: atio tap detections --from beginning --until end | jq .value.asset")]
pub struct Args {
    /// The topic; our prefix may be left out
    topic: String,
    /// Where to start: beginning, end, or a time such as 2026-01-02T03:04:05Z
    #[arg(long, default_value = "end", value_name = "PLACE", value_parser = from)]
    from: From,
    /// Where to stop: the topic's end as it is now; without it, Ctrl-C
    #[arg(long, value_name = "PLACE", value_parser = ["end"])]
    until: Option<String>,
    /// Records at most
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Beginning, end, or a time.
pub fn from(text: &str) -> Result<From, String> {
    match text {
        "beginning" => Ok(From::Beginning),
        "end" => Ok(From::End),
        time => Timestamp::parse(time)
            .map(From::Time)
            .map_err(|e| format!("beginning, end, or a time with an offset from UTC ({e})")),
    }
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let (topic, from, limit) = (args.topic.clone(), args.from, args.limit.unwrap_or(u64::MAX));
    let until = if args.until.is_some() { Until::End } else { Until::Never };
    look(target, move |look: &Look| {
        let topic = full_name(look, &topic)?;
        let spec = ReadSpec { from, until, ..ReadSpec::whole(&look.kafka, CLIENT, &topic) };
        print(&spec, limit, look)
    })
}

fn print(spec: &ReadSpec, limit: u64, look: &Look) -> anyhow::Result<Exit> {
    let mut reader = TopicReader::open(spec).map_err(read_error)?;
    let mut out = render::Lines::new();
    let mut left = limit;
    while left > 0 && !look.is_stopped() {
        match reader.next(Duration::from_millis(100)).map_err(read_error)? {
            Next::Record(entry) => {
                out.json(&shown(&entry, &look.decoder))?;
                left -= 1;
                // A person waits for what comes slowly.
                if spec.until == Until::Never {
                    out.flush()?;
                }
            }
            Next::Idle => out.flush()?,
            Next::End => break,
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// A record as a line of output.
pub fn shown(entry: &Entry, decoder: &Decoder) -> Value {
    let mut line = Map::new();
    line.insert("topic".into(), json!(*entry.topic));
    line.insert("partition".into(), json!(entry.partition));
    line.insert("offset".into(), json!(entry.offset));
    line.insert("timestamp".into(), json!(entry.timestamp));
    match entry.key.as_deref().map(std::str::from_utf8) {
        Some(Err(_)) => {
            line.insert("key_base64".into(), json!(bytes::encode(entry.key.as_deref().unwrap_or_default())))
        }
        key => line.insert("key".into(), json!(key.and_then(Result::ok))),
    };
    let headers = &entry.headers.0;
    let text = |value: &[u8]| Value::from(String::from_utf8_lossy(value));
    let headers: Map<_, _> = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let is_avro = headers.get(header::CONTENT_TYPE).is_some_and(|t| t == header::CONTENT_TYPE_AVRO);
    line.insert("headers".into(), headers.into());
    match value(entry.value.as_deref(), is_avro, decoder) {
        Ok(value) => {
            line.insert("value".into(), value);
        }
        Err(error) => {
            let raw = entry.value.as_deref().unwrap_or_default();
            line.insert("value_base64".into(), json!(bytes::encode(raw)));
            line.insert("error".into(), json!(error));
        }
    }
    line.into()
}

fn value(raw: Option<&[u8]>, is_avro: bool, decoder: &Decoder) -> Result<Value, String> {
    let Some(raw) = raw else { return Ok(Value::Null) };
    if is_avro || schema_id(raw).is_some() {
        return decoder.avro(raw);
    }
    if let Ok(json) = serde_json::from_slice(raw) {
        return Ok(json);
    }
    let text = std::str::from_utf8(raw).map_err(|e| format!("neither Avro nor UTF-8: {e}"))?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_stage::Headers;

    fn entry(key: Option<&[u8]>, value: Option<&[u8]>) -> Entry {
        let mut headers = Headers::default();
        headers.set("ce_id", b"7");
        Entry {
            topic: "atio.x".into(),
            partition: 1,
            offset: 2,
            timestamp: Timestamp(1_767_323_045_000_000),
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers,
        }
    }

    #[test]
    fn a_record_is_one_object() {
        let decoder = Decoder::new(None).unwrap();
        assert_eq!(
            shown(&entry(Some(b"k"), Some(b"{\"a\": [1]}")), &decoder),
            json!({"topic": "atio.x", "partition": 1, "offset": 2, "timestamp": "2026-01-02T03:04:05.000000Z", "key": "k",
                   "headers": {"ce_id": "7"}, "value": {"a": [1]}})
        );
        let text = shown(&entry(None, Some(b"CEF:0|x")), &decoder);
        assert_eq!((&text["key"], &text["value"]), (&Value::Null, &json!("CEF:0|x")));
        assert_eq!(shown(&entry(None, None), &decoder).get("value"), Some(&Value::Null));
        let odd = shown(&entry(Some(b"\xff"), Some(b"\xff\xfe")), &decoder);
        assert_eq!((&odd["key_base64"], &odd["value_base64"]), (&json!("/w=="), &json!("//4=")));
        assert!(odd["error"].is_string() && odd.get("value").is_none());
        let avro = shown(&entry(None, Some(&[0, 0, 0, 0, 1, 2])), &decoder);
        assert!(avro["error"].as_str().unwrap().contains("--registry"));
    }

    #[test]
    fn places_to_start() {
        assert_eq!(from("beginning"), Ok(From::Beginning));
        assert_eq!(from("2026-01-02T03:04:05Z"), Ok(From::Time(Timestamp(1_767_323_045_000_000))));
        assert!(from("yesterday").unwrap_err().starts_with("beginning, end, or a time"));
    }
}
