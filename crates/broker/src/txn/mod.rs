//! Owns transactions: `machine` is one transactional id (pure, time passed in), `txns` all of them, made durable,
//! and the finishing of what was decided. Must not know sockets.

pub(crate) mod machine;
pub(crate) mod txns;
