//! Declarations of topics, sources, sinks and tables; what they derive; the plan against a cluster.
