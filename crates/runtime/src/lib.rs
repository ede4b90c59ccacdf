//! What every service needs around its stages: configuration, lifecycle, telemetry, HTTP, schema ids.
