//! The bundle of what ATIO tells of itself: whom it is about, who did it, and the report on it. Owns nothing but that.
use super::{GraphError, Version, complete};
use crate::{
    bundle::Bundle,
    ids,
    object::{Common, Identity, UserAccount},
};
use atio_schemas::Detection;
use std::sync::Arc;

/// Users of one detection at most.
const MAX_USERS: usize = 64;

/// The bundle of an operational detection, out of its columns: the asset as an identity, its users as accounts, and ATIO's report.
///
/// # Errors
/// As [`complete`].
pub fn operational(detection: &Detection) -> Result<Vec<u8>, GraphError> {
    let tenant = &detection.tenant;
    let mut bundle = Bundle::new(&ids::bundle(tenant, &[&detection.event_id]));
    // Something there must be: a report refers to at least one object.
    let about = detection.asset.as_deref().unwrap_or(&detection.source);
    bundle.push(&Identity {
        common: Common::fixed(ids::asset_identity(tenant, about)).by_atio(),
        name: about.into(),
        identity_class: Some("system".into()),
        ..Identity::default()
    })?;
    for user in detection.users.iter().filter(|user| !user.is_empty()).take(MAX_USERS) {
        let user = user.as_str();
        bundle
            .push(&UserAccount { account_login: Some(user.into()), ..UserAccount::default() }.identified())?;
    }
    let lean = Detection { bundle: Arc::from(bundle.finish()), ..detection.clone() };
    let at = detection.reported_at.or(detection.occurred_at).or(detection.received_at).unwrap_or_default();
    complete(&lean, None, Some(&Version { seed: &[&detection.event_id], created: at, modified: at }))
}
