//! A Kafka topic as sink: a transform, not a call to the outside. Payload, receipt and offset are one transaction, so that a reader with
//! `read_committed` sees each delivery exactly once.
use atio_schemas::{
    Codec,
    delivery::{Delivery, ReceiptRecord},
    header,
};
use atio_stage::{NonEmpty, Outcome, Output, Processor, Record, Tx};
use std::sync::Arc;

pub struct KafkaSink {
    topic: Arc<str>,
    receipts: Arc<str>,
    codec: Codec,
}

impl KafkaSink {
    pub fn new(topic: &str, receipts: &Arc<str>, codec: Codec) -> Self {
        Self { topic: Arc::from(topic), receipts: receipts.clone(), codec }
    }
}

impl Processor for KafkaSink {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        let delivery: Delivery = match record.decode(&self.codec, "a delivery") {
            Ok(delivery) => delivery,
            Err(refused) => return refused,
        };
        let receipt = ReceiptRecord {
            sink: delivery.sink.clone(),
            idempotency_key: delivery.idempotency_key.clone(),
            event_id: delivery.event_id.clone(),
            incident_id: delivery.incident_id.clone(),
            workflow: delivery.workflow.clone(),
            branch: delivery.branch.clone(),
            status: "delivered".into(),
            code: None,
            external_id: Some(self.topic.to_string()),
            attempts: 1,
            delivered_at: tx.now(),
        };
        let receipt = match self.codec.encode(&receipt) {
            Ok(bytes) => bytes,
            Err(error) => return Outcome::dead_letter(error.code(), error.to_string()),
        };
        let key = record.key.map(<[u8]>::to_vec);
        let mut headers = record.headers.carried();
        headers.set(header::CONTENT_TYPE, delivery.content_type.clone());
        headers.set(header::IDEMPOTENCY_KEY, delivery.idempotency_key.clone());
        headers.set(header::WORKFLOW, delivery.workflow.clone());
        headers.set(header::CE_ID, delivery.event_id.clone());
        let mut receipt_headers = record.headers.carried();
        receipt_headers.set(header::CONTENT_TYPE, header::CONTENT_TYPE_AVRO);
        let payload = Output {
            topic: self.topic.clone(),
            partition: None,
            key: key.clone(),
            value: Some(delivery.payload),
            headers,
        };
        let mut outputs = NonEmpty::one(payload);
        outputs.push(Output {
            topic: self.receipts.clone(),
            partition: None,
            key,
            value: Some(receipt),
            headers: receipt_headers,
        });
        Outcome::Emit { outputs, rejected: vec![] }
    }
}
