//! The way of an event as a Mermaid flowchart. Owns which place follows which; must not know topics.
use super::way::Hop;

pub fn mermaid(hops: &[Hop]) -> String {
    let mut text = String::from("flowchart TD\n");
    for (at, hop) in hops.iter().enumerate() {
        let first = format!("{} {}", hop.stage, hop.workflow.as_deref().unwrap_or_default());
        let lines = [first.trim_end(), &hop.place(), &hop.at.rfc3339_millis(), &hop.outcome].map(escaped);
        text += &format!("  n{at}[\"{}\"]\n", lines.join("<br/>"));
    }
    for (at, hop) in hops.iter().enumerate() {
        for before in before(hops, hop) {
            text += &format!("  n{before} --> n{at}\n");
        }
    }
    text
}

/// Quotes would end the label; the rest would be read as markup.
fn escaped(text: &str) -> String {
    text.replace('&', "#amp;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}

/// The places that this one follows from: that of the event's nearest earlier step, on the same workflow and branch where those matter.
fn before(hops: &[Hop], hop: &Hop) -> Vec<usize> {
    let all = || hops.iter().enumerate();
    if let Some(source) = &hop.source {
        return all().filter(|(_, h)| h.place() == *source).map(|(at, _)| at).collect();
    }
    // On a topic of its own it has come through the pool, or past it.
    let same_way =
        |h: &Hop| h.workflow == hop.workflow || hop.workflow.as_ref().is_some_and(|w| h.matches.contains(w));
    let same_event = |h: &Hop| h.event_id == hop.event_id;
    let is_own = |h: &Hop| h.rank == 4 && h.matches.is_empty() && same_event(h) && h.workflow == hop.workflow;
    let forwarded = is_own(hop)
        && hops.iter().any(|h| h.rank == 4 && same_event(h) && !h.matches.is_empty() && same_way(h));
    let owned = hop.rank == 5 && hops.iter().any(is_own);
    let fits = |h: &Hop| match hop.rank {
        4 if forwarded => h.rank == 4 && !h.matches.is_empty() && same_way(h),
        5 if owned => is_own(h),
        0 | 1 => false,
        2 => h.rank == 1,
        3 | 4 => h.rank == 2,
        5 => h.rank == 4 && same_way(h),
        _ => h.rank == 5 && same_way(h) && h.leg == hop.leg,
    };
    all().filter(|(_, h)| same_event(h) && fits(h)).map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_schemas::Timestamp;

    fn hop(
        rank: u8,
        topic: &str,
        workflow: Option<&str>,
        leg: Option<(&str, &str)>,
        source: Option<&str>,
    ) -> Hop {
        Hop {
            event_id: if rank == 0 { String::new() } else { "e".into() },
            stage: format!("stage{rank}"),
            topic: topic.into(),
            partition: 0,
            offset: 1,
            at: Timestamp(0),
            workflow: workflow.map(str::to_owned),
            matches: vec![],
            outcome: "a \"b\" <c>".into(),
            rank,
            leg: leg.map(|(branch, sink)| (branch.to_owned(), sink.to_owned())),
            source: source.map(str::to_owned),
        }
    }

    #[test]
    fn each_place_follows_from_its_own() {
        let hops = [
            hop(0, "raw", None, None, None),
            hop(1, "detections", None, None, Some("raw/0/1")),
            hop(2, "enriched", None, None, None),
            hop(4, "workflow.a", Some("a@1"), None, None),
            hop(4, "workflow.b", Some("b@1"), None, None),
            hop(5, "delivery.s", Some("a@1"), Some(("x", "s")), None),
            hop(5, "delivery.t", Some("a@1"), Some(("x", "t")), None),
            hop(6, "receipts", Some("a@1"), Some(("x", "t")), None),
            hop(8, "workflow-dlq", None, None, Some("workflow.b/0/1")),
        ];
        let text = mermaid(&hops);
        let edges: Vec<&str> = text.lines().filter(|l| l.contains("-->")).map(str::trim).collect();
        let expected = [
            "n0 --> n1",
            "n1 --> n2",
            "n2 --> n3",
            "n2 --> n4",
            "n3 --> n5",
            "n3 --> n6",
            "n6 --> n7",
            "n4 --> n8",
        ];
        assert_eq!(edges, expected);
        assert!(text.contains("a #quot;b#quot; #lt;c#gt;") && text.contains("stage4 b@1<br/>workflow.b/0/1"));
    }
}
