//! The form in which people see and change a letter's value, and changes to it. Pure but for the codec. Owns that form: what the tool sent, for a
//! raw event; what the sink was sent, for a delivery; the fields as JSON, for other records of ours; else the bytes as they are.
use crate::exit::Failure;
use anyhow::Context;
use atio_schemas::{Codec, codec::Record, delivery::Delivery, raw::RawEvent};
use json_patch::Patch;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A value that is set is at most what a raw topic takes.
const VALUE_MAX: u64 = 16 << 20;
const PATCH_MAX: u64 = 1 << 20;
/// Who said or asked something is not for others to change.
const SIGNED: &[&str] = &["atio.ack", "atio.audit-intent", "atio.command"];

#[derive(Clone, Debug, Default, clap::Args)]
#[group(multiple = false)]
pub struct EditArgs {
    /// Change JSON on the way: a JSON Patch (RFC 6902, a list) or a merge patch (RFC 7396, an object)
    #[arg(long, value_name = "FILE")]
    pub edit: Option<PathBuf>,
    /// Replay this instead of the value of the one letter that --at names; `show --value` gives what can be changed
    #[arg(long, value_name = "FILE", requires = "at")]
    pub set_value: Option<PathBuf>,
}

#[derive(Debug, Default)]
pub enum Edit {
    #[default]
    None,
    Set(Vec<u8>),
    Patch(Patch),
    Merge(Value),
}

impl EditArgs {
    pub fn read(&self) -> anyhow::Result<Edit> {
        if let Some(file) = &self.set_value {
            return Ok(Edit::Set(bytes(file, VALUE_MAX)?));
        }
        let Some(file) = &self.edit else { return Ok(Edit::None) };
        let wrong = |e: &dyn std::fmt::Display| Failure::usage(format!("{}: {e}", file.display()));
        let value: Value = serde_json::from_slice(&bytes(file, PATCH_MAX)?).map_err(|e| wrong(&e))?;
        match value {
            Value::Array(_) => serde_json::from_value(value).map(Edit::Patch).map_err(|e| wrong(&e)),
            Value::Object(_) => Ok(Edit::Merge(value)),
            _ => Err(wrong(&"neither a list (JSON Patch) nor an object (merge patch)")),
        }
    }
}

fn bytes(file: &Path, max: u64) -> anyhow::Result<Vec<u8>> {
    let reading = || format!("reading {}", file.display());
    let size = std::fs::metadata(file).with_context(reading)?.len();
    if size > max {
        return Err(Failure::usage(format!("{}: {size} bytes, at most {max} are taken", file.display())));
    }
    std::fs::read(file).with_context(reading)
}

/// A value, opened.
#[derive(Debug)]
pub enum Opened {
    Raw(Box<RawEvent>),
    Delivery(Box<Delivery>),
    Fields { subject: &'static str, value: Value },
    Bytes(Vec<u8>),
}

impl Opened {
    /// `codec` has the value's schema at hand.
    pub fn of(codec: &Codec, value: &[u8]) -> Self {
        let opened = match codec.subject_of(value) {
            Some(RawEvent::SUBJECT) => codec.decode(value).map(|event| Self::Raw(Box::new(event))).ok(),
            Some(Delivery::SUBJECT) => codec.decode(value).map(|d| Self::Delivery(Box::new(d))).ok(),
            Some(_) => codec.editable(value).map(|(subject, value)| Self::Fields { subject, value }).ok(),
            None => None,
        };
        // What does not read is shown and replayed as it is.
        opened.unwrap_or_else(|| Self::Bytes(value.to_vec()))
    }

    /// What people see.
    pub fn text(&self) -> anyhow::Result<Vec<u8>> {
        Ok(match self {
            Self::Raw(event) => event.payload.clone(),
            Self::Delivery(delivery) => delivery.payload.clone(),
            Self::Fields { value, .. } => {
                let mut text = serde_json::to_vec_pretty(value)?;
                text.push(b'\n');
                text
            }
            Self::Bytes(bytes) => bytes.clone(),
        })
    }

    /// The value with the change, as it goes out.
    ///
    /// # Errors
    /// Why it can't be changed so, for people.
    pub fn edited(self, codec: &Codec, edit: &Edit) -> Result<Vec<u8>, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        match self {
            Self::Raw(mut event) => {
                event.payload = changed(event.payload, edit)?;
                codec.encode(&*event).map_err(|e| text(&e))
            }
            Self::Delivery(mut delivery) => {
                delivery.payload = changed(delivery.payload, edit)?;
                codec.encode(&*delivery).map_err(|e| text(&e))
            }
            Self::Fields { subject, .. } if SIGNED.contains(&subject) => {
                Err(format!("{subject} says who did it: send a new one in your own name"))
            }
            Self::Fields { subject, mut value } => {
                match edit {
                    Edit::Set(bytes) => value = serde_json::from_slice(bytes).map_err(|e| text(&e))?,
                    patch => patch.apply(&mut value)?,
                }
                codec.edited(subject, &value).map_err(|e| text(&e))
            }
            Self::Bytes(bytes) => changed(bytes, edit),
        }
    }
}

fn changed(bytes: Vec<u8>, edit: &Edit) -> Result<Vec<u8>, String> {
    match edit {
        Edit::None => Ok(bytes),
        Edit::Set(other) => Ok(other.clone()),
        patch => {
            let mut value: Value = serde_json::from_slice(&bytes)
                .map_err(|e| format!("it is no JSON ({e}): --at and --set-value replace it as a whole"))?;
            patch.apply(&mut value)?;
            serde_json::to_vec(&value).map_err(|e| e.to_string())
        }
    }
}

impl Edit {
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
    fn apply(&self, value: &mut Value) -> Result<(), String> {
        match self {
            Self::Patch(patch) => json_patch::patch(value, patch).map_err(|e| e.to_string()),
            Self::Merge(with) => {
                json_patch::merge(value, with);
                Ok(())
            }
            Self::None | Self::Set(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_schemas::codec::StaticIds;
    use serde_json::json;
    use std::sync::Arc;

    fn codec() -> Codec {
        Codec::new(Arc::new(StaticIds::new()))
    }

    fn patch(value: Value) -> Edit {
        Edit::Patch(serde_json::from_value(value).unwrap())
    }

    fn example(subject: &str) -> Vec<u8> {
        let path = format!("../../schemas/examples/{subject}/full.json");
        let text = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        codec().edited(subject, &serde_json::from_slice(&text).unwrap()).unwrap()
    }

    #[test]
    fn of_raw_events_and_deliveries_the_payload_is_changed_and_nothing_else() {
        let codec = codec();
        let value = example("atio.raw-event");
        let before: RawEvent = codec.decode(&value).unwrap();
        assert_eq!(Opened::of(&codec, &value).text().unwrap(), before.payload);
        let set = Opened::of(&codec, &value).edited(&codec, &Edit::Set(b"{}".to_vec())).unwrap();
        let after: RawEvent = codec.decode(&set).unwrap();
        assert_eq!(after, RawEvent { payload: b"{}".to_vec(), ..before });
        let delivery = example("atio.delivery");
        let before: Delivery = codec.decode(&delivery).unwrap();
        let set = Opened::of(&codec, &delivery).edited(&codec, &Edit::Set(b"[1]".to_vec())).unwrap();
        let after: Delivery = codec.decode(&set).unwrap();
        assert_eq!((after.payload.as_slice(), after.idempotency_key), (&b"[1]"[..], before.idempotency_key));
    }

    #[test]
    fn patches_change_json() {
        let codec = codec();
        let open = || Opened::Bytes(br#"{"b":1,"a":{"c":[1,2]}}"#.to_vec());
        let edited = |edit: &Edit| open().edited(&codec, edit).map(|b| String::from_utf8(b).unwrap());
        let both =
            patch(json!([{"op": "replace", "path": "/b", "value": 2}, {"op": "remove", "path": "/a/c/0"}]));
        assert_eq!(edited(&both).unwrap(), r#"{"b":2,"a":{"c":[2]}}"#, "in its order");
        assert_eq!(edited(&Edit::Merge(json!({"a": null, "d": 3}))).unwrap(), r#"{"b":1,"d":3}"#);
        assert!(
            edited(&patch(json!([{"op": "remove", "path": "/nowhere"}]))).unwrap_err().contains("nowhere")
        );
        let broken = Opened::Bytes(b"{".to_vec()).edited(&codec, &Edit::Merge(json!({}))).unwrap_err();
        assert!(broken.contains("--set-value"), "{broken}");
    }

    #[test]
    fn a_routed_event_can_be_given_to_another_version() {
        let codec = codec();
        let value = example("atio.routed");
        let edit = patch(json!([{"op": "replace", "path": "/matches/0", "value": "w@9"}]));
        let after = Opened::of(&codec, &value).edited(&codec, &edit).unwrap();
        let routed: atio_schemas::routed::Routed = codec.decode(&after).unwrap();
        let before: atio_schemas::routed::Routed = codec.decode(&value).unwrap();
        assert_eq!((routed.matches[0].as_str(), routed.detection), ("w@9", before.detection));
        let slip = Opened::of(&codec, &value).edited(&codec, &Edit::Merge(json!({"match": []}))).unwrap_err();
        assert!(slip.contains("no field `match`"), "{slip}");
    }

    #[test]
    fn nobody_changes_what_another_said() {
        let codec = codec();
        for subject in SIGNED {
            let opened = Opened::of(&codec, &example(subject));
            let refused = opened.edited(&codec, &Edit::Merge(json!({"actor": "mallory"}))).unwrap_err();
            assert!(refused.contains("in your own name"), "{subject}: {refused}");
        }
    }

    #[test]
    fn what_is_no_record_stays_bytes() {
        let codec = codec();
        for bytes in [&b"\xff\xfe"[..], b"", &[0, 0, 0, 0, 1, 2]] {
            assert_eq!(Opened::of(&codec, bytes).text().unwrap(), bytes);
        }
    }
}
