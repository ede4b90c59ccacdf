//! A record on its way to a sink: what is held of it until its receipt is committed, and what is written then. Owns what is let go of and when;
//! must not know windows, calls or transactions.
use super::window::Held;
use crate::{dead_letter, fault::Tp};
use atio_schemas::{Code, Codec, Timestamp, codec::CodecError, delivery as wire, header};
use atio_stage::{Deliver, Headers, Input, Output, Receipt, Record, Reject, Stage};

/// What a header costs beside its text.
const HEADER: usize = 72;

/// As it came, with the few fields of it that a receipt needs; it is decoded anew for each try, so that the payload is held once.
#[derive(Debug)]
pub(super) struct Item {
    key: Option<Vec<u8>>,
    /// None, too, once it is delivered: only another try and a dead letter need it.
    value: Option<Vec<u8>>,
    headers: Headers,
    timestamp: Timestamp,
    /// None where it could not be read.
    about: Option<Box<About>>,
    end: Option<End>,
    attempts: u32,
}

/// What a receipt says of its delivery.
#[derive(Debug)]
struct About {
    sink: String,
    idempotency_key: String,
    event_id: String,
    incident_id: Option<String>,
    asset: Option<String>,
    workflow: String,
    branch: String,
}

#[derive(Debug)]
pub(super) enum End {
    Delivered(Receipt),
    Rejected(Reject),
    Dropped(Code),
}

impl Item {
    /// Where there is nothing to deliver, it has ended already.
    pub(super) fn read(
        codec: &Codec,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        timestamp: Timestamp,
        headers: Headers,
    ) -> Self {
        let mut item = Self {
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers,
            timestamp,
            about: None,
            end: None,
            attempts: 0,
        };
        if item.headers.text(header::RUN).is_some_and(|run| run != header::LIVE) {
            item.dropped(Code::Replay);
            return item;
        }
        match item.decode(codec) {
            Ok(delivery) => item.about = Some(Box::new(About::of(delivery))),
            Err(reject) => item.end = Some(End::Rejected(reject)),
        }
        item
    }

    /// What goes to the sink.
    ///
    /// # Errors
    /// How it ends otherwise.
    pub(super) fn decode(&self, codec: &Codec) -> Result<wire::Delivery, Reject> {
        let Some(value) = &self.value else {
            return Err(Reject::whole(Code::NullValue, "nothing to deliver"));
        };
        codec.decode(value).map_err(|e: CodecError| Reject::whole(e.code(), e.to_string()))
    }

    pub(super) fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(super) fn delivered(&mut self, receipt: Receipt, attempts: u32) {
        (self.end, self.attempts) = (Some(End::Delivered(receipt)), attempts);
        self.let_go();
    }
    pub(super) fn rejected(&mut self, reject: Reject, attempts: u32) {
        (self.end, self.attempts) = (Some(End::Rejected(reject)), attempts);
    }

    pub(super) fn dropped(&mut self, code: Code) {
        self.end = Some(End::Dropped(code));
        self.let_go();
    }

    /// Of what only another try or a dead letter would need.
    fn let_go(&mut self) {
        (self.key, self.value) = (None, None);
        self.headers = self.headers.carried();
    }

    /// What is written of it, now that it has ended.
    ///
    /// # Errors
    /// Text for people: a receipt that can't be written.
    pub(super) fn outputs(
        &self,
        stage: &Stage,
        deliver: &Deliver,
        input: &Input,
        (tp, offset): (&Tp, i64),
        now: Timestamp,
    ) -> Result<Vec<Output>, String> {
        let mut outputs = vec![];
        let (status, receipt) = match &self.end {
            Some(End::Delivered(receipt)) => ("delivered", receipt.clone()),
            Some(End::Rejected(reject)) => {
                let record = Record {
                    topic: &tp.topic,
                    partition: tp.partition,
                    offset,
                    timestamp: self.timestamp,
                    key: self.key.as_deref(),
                    value: self.value.as_deref(),
                    headers: &self.headers,
                };
                let attempt = self.attempts.max(1);
                let context = dead_letter::Context { stage: &stage.name, attempt, now, emitted: "" };
                outputs.push(dead_letter::output(&input.dead_letters, &record, reject, context));
                ("rejected", Receipt { external_id: None, code: Some(reject.code.as_str().to_owned()) })
            }
            Some(End::Dropped(_)) | None => return Ok(outputs),
        };
        if let Some(about) = &self.about {
            let record = about.receipt(status, receipt, self.attempts, now);
            let value = deliver.codec.encode(&record).map_err(|e| format!("receipt: {e}"))?;
            outputs.push(Output::new(deliver.receipts.clone(), about.key(), value, self.headers.carried()));
        }
        Ok(outputs)
    }
}

impl Held for Item {
    fn bytes(&self) -> usize {
        let bytes = |b: &Option<Vec<u8>>| b.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.0.iter().map(|(n, v)| n.len() + v.len() + HEADER).sum();
        let part = match &self.end {
            Some(End::Rejected(reject)) => reject.part.as_ref().map_or(0, |part| part.bytes.len()),
            _ => 0,
        };
        let about = self.about.as_ref().map_or(0, |about| about.bytes());
        // The window keeps the key beside it.
        size_of::<Self>() + 2 * bytes(&self.key) + bytes(&self.value) + headers + about + part
    }
}

impl About {
    fn of(delivery: wire::Delivery) -> Self {
        Self {
            sink: delivery.sink,
            idempotency_key: delivery.idempotency_key,
            event_id: delivery.event_id,
            incident_id: delivery.incident_id,
            asset: delivery.asset,
            workflow: delivery.workflow,
            branch: delivery.branch,
        }
    }

    /// Of the receipt's record.
    fn key(&self) -> String {
        self.incident_id.clone().or_else(|| self.asset.clone()).unwrap_or_else(|| self.event_id.clone())
    }

    fn receipt(&self, status: &str, receipt: Receipt, attempts: u32, now: Timestamp) -> wire::ReceiptRecord {
        wire::ReceiptRecord {
            sink: self.sink.clone(),
            idempotency_key: self.idempotency_key.clone(),
            event_id: self.event_id.clone(),
            incident_id: self.incident_id.clone(),
            workflow: self.workflow.clone(),
            branch: self.branch.clone(),
            status: status.to_owned(),
            code: receipt.code,
            external_id: receipt.external_id,
            attempts: i32::try_from(attempts).unwrap_or(i32::MAX),
            delivered_at: now,
        }
    }

    fn bytes(&self) -> usize {
        let text = [&self.sink, &self.idempotency_key, &self.event_id, &self.workflow, &self.branch];
        let optional = [&self.incident_id, &self.asset].into_iter().flatten();
        size_of::<Self>() + text.into_iter().chain(optional).map(String::len).sum::<usize>()
    }
}
