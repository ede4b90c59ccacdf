//! OpenSearch and Elasticsearch through `_bulk`: document id = idempotency key, so that a repeat overwrites itself.
use super::http::{Endpoint, body, excerpt, is_permanent, judge, retry_after, unreachable};
use atio_runtime::http::outbound::{StatusCode, Url, header::CONTENT_TYPE};
use atio_schemas::Code;
use atio_stage::{BoxFuture, Delivery, Receipt, Reject, Sink, Verdict};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

/// Documents in one request; the stream layer's window bounds its bytes.
const BATCH: usize = 64;

pub struct OpenSearch {
    endpoint: Endpoint,
    bulk: Url,
    index: String,
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Item>,
}
#[derive(Deserialize)]
struct Item {
    index: ItemResult,
}
#[derive(Deserialize)]
struct ItemResult {
    #[serde(rename = "_id")]
    id: Option<String>,
    status: u16,
    error: Option<Box<RawValue>>,
}

impl OpenSearch {
    /// # Errors
    /// The url has no place for `_bulk`.
    pub fn new(endpoint: Endpoint, index: &str) -> Result<Self, String> {
        let mut bulk = endpoint.url.clone();
        bulk.path_segments_mut()
            .map_err(|()| "the url can't be a base".to_owned())?
            .pop_if_empty()
            .push("_bulk");
        Ok(Self { endpoint, bulk, index: index.to_owned() })
    }

    /// The request's body and which deliveries are in it: a payload that is no JSON object on one line can't be.
    fn lines(&self, batch: &[Delivery]) -> (Vec<u8>, Vec<Option<Verdict>>) {
        let mut lines = vec![];
        let mut refused = Vec::with_capacity(batch.len());
        for delivery in batch {
            let record = &delivery.record;
            match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&record.payload) {
                Ok(document) => {
                    let action = json!({"index": {"_index": self.index, "_id": record.idempotency_key}});
                    lines.extend_from_slice(action.to_string().as_bytes());
                    lines.push(b'\n');
                    lines.extend_from_slice(serde_json::Value::Object(document).to_string().as_bytes());
                    lines.push(b'\n');
                    refused.push(None);
                }
                Err(error) => {
                    let message = format!("the {} payload is no JSON object: {error}", record.format);
                    refused.push(Some(Verdict::Reject(Reject::whole(Code::ConvertFailed, message))));
                }
            }
        }
        (lines, refused)
    }

    async fn send(&self, lines: Vec<u8>, wanted: usize) -> Vec<Verdict> {
        let request =
            self.endpoint.post(self.bulk.clone()).header(CONTENT_TYPE, "application/x-ndjson").body(lines);
        let all = |verdict: Verdict| vec![verdict; wanted];
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return all(unreachable(&error)),
        };
        let (status, after) = (response.status(), retry_after(&response));
        let answer = match body(response).await {
            Ok(answer) => answer,
            Err(retry) => return all(retry),
        };
        if !status.is_success() {
            // 413 and the like are about the request as a whole; one document alone is judged by it.
            let verdict = judge(status, after, None, &answer);
            return match verdict {
                Verdict::Reject(reject) if wanted > 1 => {
                    all(Verdict::Retry { after: None, error: reject.message })
                }
                other => all(other),
            };
        }
        match serde_json::from_slice::<Answer>(&answer) {
            Ok(read) if read.items.len() == wanted => read.items.into_iter().map(|i| item(i.index)).collect(),
            Ok(read) => all(Verdict::Retry {
                after: None,
                error: format!("{} answers to {wanted} documents", read.items.len()),
            }),
            Err(e) => all(Verdict::Retry {
                after: None,
                error: format!("answer is no bulk response: {e}: {}", excerpt(&answer)),
            }),
        }
    }
}

fn item(result: ItemResult) -> Verdict {
    let status = StatusCode::from_u16(result.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_success() {
        return Verdict::Delivered(Receipt { external_id: result.id, code: Some(result.status.to_string()) });
    }
    let message = format!(
        "status {}: {}",
        result.status,
        excerpt(result.error.map(|e| e.get().to_owned()).unwrap_or_default().as_bytes())
    );
    if is_permanent(status) {
        Verdict::Reject(Reject::whole(Code::SinkRejected, message))
    } else {
        Verdict::Retry { after: None, error: message }
    }
}

impl Sink for OpenSearch {
    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Verdict>> {
        Box::pin(async move {
            let (lines, refused) = self.lines(batch);
            let wanted = refused.iter().filter(|r| r.is_none()).count();
            let mut answered = if wanted == 0 { vec![] } else { self.send(lines, wanted).await }.into_iter();
            let missing = || Verdict::Retry { after: None, error: "no answer for this document".into() };
            refused.into_iter().map(|r| r.or_else(|| answered.next()).unwrap_or_else(missing)).collect()
        })
    }
    fn batch_size(&self) -> usize {
        BATCH
    }
}
