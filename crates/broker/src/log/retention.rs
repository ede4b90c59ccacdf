//! Owns which sealed segments have outlived their topic's limits. Must not know compaction.

use super::LogError;
use super::config::TopicConfig;
use super::partition::PartitionLog;

impl PartitionLog {
    /// Deletes what is older than retention.ms or beyond retention.bytes; returns the new start if it moved.
    /// A segment is as old as its newest record or its last append, whichever is later: fresh writes with
    /// old timestamps stay for the whole time. Open transactions hold what they wrote.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn retain(&mut self, config: &TopicConfig, now: i64) -> Result<Option<i64>, LogError> {
        if !config.delete {
            return Ok(None);
        }
        let before = self.start;
        self.correct_times(now);
        let expired = |max_ts: i64, last_append: i64| {
            // No client may send times so far ahead: the clock has been there and is back.
            let possible = max_ts.saturating_sub(now) <= config.after_max_ms;
            let youngest = if possible { max_ts.min(now).max(last_append) } else { last_append };
            config.retention_ms >= 0 && now.saturating_sub(youngest) > config.retention_ms
        };
        let stable = self.stable();
        // On a full disk there is no room for another segment, and the more need to delete what is sealed.
        let mut rolled = Ok(());
        if let Some(active) = self.segments.back()
            && active.summary.size > 0
            && active.summary.end <= stable
            && expired(active.summary.max_ts, active.summary.last_append_ms)
        {
            rolled = self.roll();
        }
        let mut size = self.size();
        while self.segments.len() > 1 {
            let Some(front) = self.segments.front() else { break };
            let summary = &front.summary;
            let over = config.retention_bytes >= 0
                && size.saturating_sub(summary.size) >= config.retention_bytes as u64;
            if summary.end > stable || !(over || expired(summary.max_ts, summary.last_append_ms)) {
                break;
            }
            size -= summary.size;
            self.start = self.start.max(summary.end);
            front.delete()?;
            self.segments.pop_front();
        }
        rolled?;
        Ok((self.start > before).then_some(self.start))
    }

    /// A clock that was far ahead, and was set right, has left times of the future behind: such a segment counts as
    /// written now.
    fn correct_times(&mut self, now: i64) {
        for segment in &mut self.segments {
            let summary = &mut segment.summary;
            summary.last_append_ms = summary.last_append_ms.min(now);
            summary.first_append_ms = summary.first_append_ms.min(now);
        }
    }
}
