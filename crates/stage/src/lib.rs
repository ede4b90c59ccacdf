//! The contract of a stage: a processor between topics, run by the stream layer, and an in-memory harness to test one without Kafka.
//!
//! A stage is sync, does no I/O, sees no clock and keeps no fields that change: everything that a record changes is in the transaction
//! ([`Tx`]), merged on commit and gone on abort. Delivery ([`Sink`]) is the only async seam. Must not know: Kafka, tokio, a service.

pub mod harness;
pub mod outcome;
pub mod record;
pub mod replay;
pub mod sink;
pub mod spec;
pub mod state;
pub mod table;
pub mod tx;

pub use outcome::{Leg, NonEmpty, Outcome, Part, Reject, StageError};
pub use record::{Headers, Output, Record};
pub use replay::Replay;
pub use sink::{BoxFuture, Delivery, Receipt, Sink, Verdict};
pub use spec::{Deliver, Input, Pace, Processor, Run, Stage, Start, StoreSpec, TableSpec};
pub use state::{Held, Overlay, State, StateKey, Store, Timer, Timers};
pub use table::{TableName, Tables, View};
pub use tx::{Keyed, Tx};
