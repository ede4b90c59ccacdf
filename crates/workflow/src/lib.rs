//! Workflows: the language, its checks, the trigger index, the steps. Pure: no Kafka, no clock, no files.
//!
//! `spec` reads YAML into a shape with places, `check` turns it into a [`Definition`] or a list of problems, `index` finds the
//! definitions that a detection triggers, `partition` says what its events come together by, `machine` runs one branch of one definition on one detection, `state` is what it keeps between
//! events, `trigger` says what `on` may be, `schedule` when a workflow is due by itself, `silence` what it listens for, `rehearsal` runs a branch over events without a stage, `testing` runs `tests:` blocks, `snapshot` is
//! what they come to as text, `tables` are the rows that steps look into, `definitions` is the topic `workflows` as a table of compiled definitions,
//! `calls` hands events to other workflows, `outputs` makes records of what a branch gives, `routed` of what matches, `placement` is what a file says of where its branches run.
//! A step is one file in `steps/` and one line in its table. Must not know: the stream layer, services.

pub mod calls;
pub mod check;
pub mod definitions;
pub mod hours;
pub mod index;
pub mod machine;
pub mod outputs;
pub mod partition;
pub mod placement;
pub mod rehearsal;
pub mod routed;
pub mod schedule;
pub mod schema;
mod secrets;
pub mod silence;
pub mod snapshot;
pub mod spec;
pub mod state;
pub mod steps;
mod suggest;
pub mod tables;
pub mod testing;
pub mod trigger;
pub mod yaml;

pub use check::{Branch, Definition, Known, SinkFacts, compile};
pub use definitions::Definitions;
pub use index::{Conditions, Index, Predicate};
pub use machine::{Delivered, End, Heard, Site, go_on, resume, run};
pub use outputs::outputs;
pub use partition::Partition;
pub use routed::To;
pub use schedule::Schedule;
pub use silence::Silence;
pub use trigger::Trigger;
