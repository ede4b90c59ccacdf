//! The shape of `answer` in a test: how the waits of a branch end. Must not know: what stands behind a wait.
use super::{Reply, field, known, mapping, testing::after, text, unknown};
use crate::yaml::{Node, Value};
use atio_schemas::incident::Answer;
use atio_topics::Problem;

/// Waits of one branch that are answered.
const MAX_REPLIES: usize = 16;
const FIELDS: &[&str] = &["as", "by", "after", "choice"];
/// How a wait ends, as a test says it.
pub(crate) const ENDS: [Answer; 3] = [Answer::Acknowledged, Answer::Rejected, Answer::Unanswered];

/// One, or one for each wait that an event comes to.
pub(super) fn read(node: &Node, problems: &mut Vec<Problem>) -> Vec<Reply> {
    let Value::List(items) = &node.value else { return one(node, problems).into_iter().collect() };
    if items.is_empty() || items.len() > MAX_REPLIES {
        let message = format!("1 to {MAX_REPLIES} answers, here are {}", items.len());
        let help = "one for each wait that an event comes to: `answer: [acknowledged, {as: rejected, by: engineer}]`";
        problems.push(Problem::new(&node.place, message).help(Some(help.to_owned())));
    }
    items.iter().filter_map(|item| one(item, problems)).collect()
}

fn one(node: &Node, problems: &mut Vec<Problem>) -> Option<Reply> {
    if !matches!(node.value, Value::Map(_)) {
        let answer = end(node, problems)?;
        return Some(Reply { answer, by: None, after: None, choice: None });
    }
    let entries = mapping(node, "`answer`", problems)?;
    known(entries, FIELDS, &[], "field of `answer`", problems);
    let answer = match field(entries, "as") {
        None => Answer::Acknowledged,
        Some(node) => end(node, problems)?,
    };
    let by = field(entries, "by").and_then(|node| text(node, "`by`", problems));
    let after = field(entries, "after").and_then(|node| after(node, problems));
    let choice = field(entries, "choice").and_then(|node| text(node, "`choice`", problems));
    let idle = match answer {
        Answer::Acknowledged => &[][..],
        Answer::Rejected => &["choice"][..],
        _ => &["by", "after", "choice"][..],
    };
    for (key, _) in entries.iter().filter(|(key, _)| idle.contains(&key.text.as_str())) {
        let message = format!("`{}` says nothing where `as` is `{}`", key.text, answer.as_str());
        problems.push(Problem::new(&key.place, message).help(Some("leave it out".to_owned())));
    }
    Some(Reply { answer, by, after, choice })
}

fn end(node: &Node, problems: &mut Vec<Problem>) -> Option<Answer> {
    let text = text(node, "`answer`", problems)?;
    let found = ENDS.into_iter().find(|end| end.as_str() == text.text);
    if found.is_none() {
        problems.push(unknown(&text, &ENDS.map(Answer::as_str), &[], "answer"));
    }
    found
}
