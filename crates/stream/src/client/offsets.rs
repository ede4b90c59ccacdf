//! Sending offsets to a transaction, on a thread of its own: the one call of librdkafka that may not come back. Owns how long it is waited for;
//! must not know which offsets, nor what follows.
//!
//! Where a connection to the group's coordinator is lost, librdkafka 2.12.1 sends TxnOffsetCommit again when a broker is up, and never looks at
//! the deadline of that wait (`creq_ts_timeout` of rdkafka_coord.c): a lane would stand still for as long as no broker is there, and could not be
//! stopped. Whoever is not waited for any longer ends with its producer as soon as a broker is up; the next producer under the same
//! transactional id has fenced it by then.
use super::error::{self, Call};
use crate::fault::{Fault, FaultKind};
use rdkafka::{consumer::ConsumerGroupMetadata, error::KafkaError, topic_partition_list::TopicPartitionList};
use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

type Asked = (TopicPartitionList, ConsumerGroupMetadata);
type Answer = Result<(), KafkaError>;

/// Calls on behalf of one producer, one after the other.
pub(super) struct OffsetsCall {
    asking: Option<SyncSender<Asked>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

impl OffsetsCall {
    /// `send` is the client's call, with a time-out below the socket's: one request is all that it sends then.
    ///
    /// # Errors
    /// `Unknown`: no thread can be made.
    pub(super) fn start(
        send: impl Fn(&TopicPartitionList, &ConsumerGroupMetadata) -> Answer + Send + 'static,
    ) -> Result<Self, Fault> {
        let (asking, asked) = sync_channel::<Asked>(1);
        let (answering, answers) = sync_channel(1);
        let run = move || {
            while let Ok((list, group)) = asked.recv() {
                if answering.send(send(&list, &group)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("kafka-offsets".to_owned()).spawn(run);
        let thread =
            thread.map_err(|e| Fault::new(FaultKind::Unknown, format!("Offsets: no thread: {e}")))?;
        Ok(Self { asking: Some(asking), answers, thread: Some(thread) })
    }

    /// # Errors
    /// See [`Fault`]; `Unknown` also where no answer came within `patience`: the producer is to be dropped then.
    pub(super) fn call(
        &mut self,
        list: TopicPartitionList,
        group: ConsumerGroupMetadata,
        patience: Duration,
    ) -> Result<(), Fault> {
        let unknown = |why: String| Fault::new(FaultKind::Unknown, format!("{:?}: {why}", Call::Offsets));
        let sent = self.asking.as_ref().is_some_and(|asking| asking.send((list, group)).is_ok());
        if !sent {
            return Err(unknown("asked again after no answer".to_owned()));
        }
        match self.answers.recv_timeout(patience) {
            Ok(answer) => answer.map_err(|e| error::of_call(Call::Offsets, &e)),
            Err(RecvTimeoutError::Timeout) => {
                self.asking = None;
                self.thread = None;
                Err(unknown(format!("no answer after {patience:?}")))
            }
            Err(RecvTimeoutError::Disconnected) => Err(unknown("its thread has ended".to_owned())),
        }
    }
}

impl Drop for OffsetsCall {
    fn drop(&mut self) {
        self.asking = None;
        // Its producer ends with us, unless it was left behind.
        if let Some(Err(_panic)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!(error_code = "thread", "the thread that sends offsets panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::{
        config::ClientConfig,
        consumer::{BaseConsumer, Consumer as _},
    };
    use std::sync::{Arc, Mutex};

    #[test]
    fn what_does_not_come_back_is_waited_for_so_long_and_asked_once() {
        let consumer = ClientConfig::new().set("group.id", "g").create::<BaseConsumer>().expect("a consumer");
        let group = || consumer.group_metadata().expect("of a group");
        let (letting_go, held) = sync_channel::<()>(0);
        let (held, asked) = (Mutex::new(held), Arc::new(Mutex::new(0)));
        let count = asked.clone();
        let mut call = OffsetsCall::start(move |_, _| {
            let mut asked = count.lock().expect("unpoisoned");
            *asked += 1;
            if *asked > 1 {
                held.lock().expect("unpoisoned").recv().expect("let go");
            }
            Ok(())
        })
        .expect("a thread");
        let list = TopicPartitionList::new;
        assert_eq!(call.call(list(), group(), Duration::from_secs(60)), Ok(()));
        let none = call.call(list(), group(), Duration::from_millis(1)).expect_err("it is held");
        assert_eq!((none.kind, &*none.text), (FaultKind::Unknown, "Offsets: no answer after 1ms"));
        let again = call.call(list(), group(), Duration::from_secs(60)).expect_err("given up");
        assert_eq!(again.text, "Offsets: asked again after no answer");
        // Held still: nobody waits for it.
        drop(call);
        letting_go.send(()).expect("it comes back late");
        assert_eq!(*asked.lock().expect("unpoisoned"), 2);
    }
}
