//! Whether a lane that was fenced begins anew (exactly-once, rule 8). Owns who counts as another under its name; must not know how it starts.
//!
//! The client says the same of a static member whose session ran out while its broker was away, though nobody has taken its place.
use super::*;
use crate::client;

/// Once in so long: where two want the same name, they do not fight for it.
const WINDOW: Duration = Duration::from_secs(60);
/// So long the group is asked who its members are.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(200);

/// What a member is called in its group: name and start, so that two under one name can be told apart.
pub(super) fn member_of(name: &str) -> String {
    format!("{name}@{:x}-{:x}", std::process::id(), clock::wall().0)
}

/// Whether another start of this name is among the members.
fn taken(members: &[String], name: &str, ours: &str) -> bool {
    let of_name =
        |member: &str| member.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('@'));
    members.iter().any(|member| member != ours && of_name(member))
}

/// What is known of a lane that has ended.
pub(super) struct Ended {
    /// The lane's, and what its member was called.
    pub(super) name: String,
    pub(super) member: String,
    /// Its session had run out.
    pub(super) overdue: bool,
}

/// May it begin anew? `last`: when it last did.
pub(super) fn may(
    ended: &Ended,
    stage: &Stage,
    config: &LaneConfig,
    stop: &Stop,
    last: Option<Instant>,
) -> bool {
    if !ended.overdue || last.is_some_and(|at| at.elapsed() < WINDOW) {
        return false;
    }
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && !stop.is_stopped() {
        let asked = client::survey::Connection::open(&config.kafka, &ended.name);
        match asked.and_then(|asking| asking.members(&stage.group, client::consumer::CALL)) {
            Ok(members) => return !taken(&members, &ended.name, &ended.member),
            Err(error) => {
                tracing::warn!(stage = stage.name, error_code = error.code(), %error, "who is in the group");
                clock::pause(AGAIN);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_start_of_the_same_name_has_taken_it() {
        let name = "atio.normalization.normalization.1.0";
        let ours = format!("{name}@5-1f");
        let cases = [
            (vec![], false),
            (vec![ours.clone()], false),
            (vec![ours.clone(), "atio.normalization.normalization.10.0@6-2f".to_owned()], false),
            (vec![ours.clone(), format!("{name}@6-2f")], true),
            (vec![name.to_owned()], true),
            (vec![format!("{name}0@6-2f"), "somebody".to_owned()], false),
        ];
        for (members, expected) in cases {
            assert_eq!(taken(&members, name, &ours), expected, "{members:?}");
        }
    }
}
