//! Owns consumer groups: `machine` is the classic protocol (pure, time passed in), `offsets` what a group has committed
//! (pure), this file the map of groups, who waits for which answer, and what of it goes to the store.
//! Must not know sockets or partitions' logs.

pub(crate) mod groups;
mod joining;
pub(crate) mod machine;
pub(crate) mod members;
pub(crate) mod offsets;
