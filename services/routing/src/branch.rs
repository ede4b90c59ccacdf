//! One branch of one workflow: a routed detection in, deliveries and waits out, by the version that it was routed with.
//! Owns which version runs. Must not know: steps.
use crate::{Definitions, router::refused};
use atio_schemas::{Code, Codec, routed::Routed};
use atio_stage::{Outcome, Processor, Record, Tx};
use atio_workflow::{Site, outputs, run};
use ipnet::IpNet;

pub(crate) struct Runner {
    pub(crate) codec: Codec,
    pub(crate) workflow: String,
    pub(crate) branch: String,
    pub(crate) home_networks: Vec<IpNet>,
    /// Of topics, e.g. `atio.`.
    pub(crate) prefix: String,
}

impl Runner {
    /// The version of this workflow that the detection was routed with.
    fn version(&self, routed: &Routed) -> Option<i64> {
        routed.matches.iter().find_map(|m| {
            let (name, version) = m.rsplit_once('@')?;
            if name == self.workflow { version.parse().ok() } else { None }
        })
    }
}

impl Processor for Runner {
    fn process(&self, record: &Record<'_>, tx: &mut Tx<'_>) -> Outcome {
        let routed: Routed = match record.decode(&self.codec, "a routed detection") {
            Ok(routed) => routed,
            Err(refused) => return refused,
        };
        let Some(version) = self.version(&routed) else {
            let message = format!("the list of matches does not name {}", self.workflow);
            return Outcome::dead_letter(Code::MissingField, message);
        };
        let definitions = match tx.table::<Definitions>(Definitions::TABLE) {
            Ok(definitions) => definitions,
            Err(error) => return Outcome::Fail(error),
        };
        let definition = match definitions.version(&self.workflow, version) {
            Ok(definition) => definition,
            // The table may be a moment behind: whoever runs the stage tries again, and fails after a while.
            Err(error) => return Outcome::Fail(error),
        };
        let Some(branch) = definition.branch(&self.branch) else { return Outcome::Drop(Code::NotInVersion) };
        let site = Site { version, home_networks: &self.home_networks };
        let end = run(definition, branch, &routed.detection, site);
        match outputs(&self.codec, &self.prefix, record.headers, &routed.detection, &end) {
            Ok(outputs) => Outcome::of(outputs, end.rejected, end.dropped.unwrap_or(Code::Filtered)),
            Err(error) => refused(&error),
        }
    }
}
