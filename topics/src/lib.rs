//! Declarations of topics, sources, sinks and tables; what they derive; the plan against a cluster.
//!
//! Owns the declaration language but for workflows (of those it knows the [`Footprint`] only), and every topic's settings. Must not know:
//! Kafka clients, services, HTTP. Pure, `load` aside, which reads declaration files.

pub mod acl;
pub mod derive;
pub mod fixed;
pub mod load;
pub mod place;
pub mod plan;
pub mod shipped;
pub mod sink;
pub mod spec;
pub mod suggest;
pub mod units;
pub mod validate;
mod yaml;

pub use derive::{Footprint, Layout, Ownership, StateTopic, Topic};
pub use fixed::Fixed;
pub use load::{Declarations, WorkflowText};
pub use place::{Place, Problem};
pub use plan::{Change, ClusterState, Flags, Plan, TopicState};
pub use sink::{Audience, Auth, Role, Sink, Target};
pub use spec::{Class, From, Secret, Source, Table, TableFile, TableFormat};
