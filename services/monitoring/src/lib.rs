//! The one writer of definitions, change events and the audit log.
