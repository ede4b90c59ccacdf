//! Hands payloads to external systems, idempotent and retried, and records their receipts.
