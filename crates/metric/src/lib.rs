//! Prometheus metrics: registries, families, the text format.
