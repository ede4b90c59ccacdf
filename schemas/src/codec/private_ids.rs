//! Ids for who writes for itself alone and reads what others wrote: a replay in memory. Owns that both kinds of ids never meet. Must not know: who
//! others are.
use super::{SchemaIds, StaticIds};
use apache_avro::Schema;
use std::sync::Arc;

/// Registries count up from 1: none gives an id from here on.
const FIRST: i32 = 1 << 30;

/// Our own schemas under ids that no registry gives; every other id is as the other ids have it.
pub struct PrivateIds {
    own: StaticIds,
    others: Option<Arc<dyn SchemaIds>>,
}

impl PrivateIds {
    #[must_use]
    pub fn beside(others: Option<Arc<dyn SchemaIds>>) -> Self {
        Self { own: StaticIds::new(), others }
    }
}

impl SchemaIds for PrivateIds {
    fn id_of(&self, subject: &str) -> Option<i32> {
        self.own.id_of(subject)?.checked_add(FIRST)
    }
    fn schema_of(&self, id: i32) -> Option<Arc<Schema>> {
        if id >= FIRST { self.own.schema_of(id - FIRST) } else { self.others.as_ref()?.schema_of(id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Codec, Detection, detection::Kind};

    /// What is written so is read so, beside what is there under ids of others.
    #[test]
    fn both_are_read_and_never_mistaken() {
        let others = Codec::new(Arc::new(StaticIds::new()));
        let private = Codec::new(Arc::new(PrivateIds::beside(Some(Arc::new(StaticIds::new())))));
        let alone = Codec::new(Arc::new(PrivateIds::beside(None)));
        let d = Detection::new("e".into(), Kind::Log, "default", "s");
        let (theirs, ours) = (others.encode(&d).unwrap(), private.encode(&d).unwrap());
        assert_ne!(theirs, ours);
        assert_eq!(private.decode::<Detection>(&theirs).unwrap(), d);
        assert_eq!(private.decode::<Detection>(&ours).unwrap(), d);
        assert_eq!(alone.decode::<Detection>(&ours).unwrap(), d);
        assert!(alone.decode::<Detection>(&theirs).is_err() && others.decode::<Detection>(&ours).is_err());
    }
}
