//! Which input a lane takes from next, and how much. Pure: no clock, no client. Owns shares, guarantees and the window; must not know records.
//!
//! While little waits downstream everything is taken, tenants in equal turns, the sources of a tenant by weight (start-time fair queueing:
//! the least served comes first, and what was idle saves up nothing). Who is below half of his fair share comes first, and once the window is
//! full he alone goes on.
//! Both count what an input's records become downstream, which is known afterwards: a record that became a thousand is paid for later.
use super::{Look, Share};
use crate::machine::Millis;
use std::collections::BTreeMap;

/// Records taken from an input before it is looked who is next.
const QUANTUM: f64 = 32.0;
/// What may wait at one place downstream: what gets through in so many seconds, at least so much.
const TARGET: f64 = 0.5;
const WINDOW_MIN: f64 = 1000.0;
/// And at all of them together, which is more than what is merely on its way: so many times that.
const TOTAL: f64 = 4.0;
/// Until it is known how much gets through.
const WINDOW_FIRST: f64 = 1000.0;
/// Guarantees go by what gets through downstream, records a second, at least by the last; by the first until it is known.
const PACE_FIRST: f64 = 1000.0;
const PACE_MIN: f64 = 20.0;
/// Below so many in a second, or in a turn that takes longer, nobody looks, and nothing is held back.
const BUSY: u64 = 200;
const SECOND: Millis = 1000;
/// So long after it was busy it is looked on.
const BUSY_FOR: Millis = 5000;
/// Nothing is held back where nobody has looked for so long. A first look makes a client for each group, which takes seconds on a busy machine:
/// what is taken meanwhile without limit is what everybody waits for afterwards.
const LOOK_MAX: Millis = 30_000;
/// What a record is taken to become before it is known: at first few are taken.
const COST_FIRST: f64 = 100.0;
/// Weight of the newest record in what an input's records usually become.
const COST_WEIGHT: f64 = 0.1;

#[derive(Debug)]
struct Tenant {
    /// Where it stands among tenants, and the sources in it among themselves.
    served: f64,
    clock: f64,
    /// Had more when it was last taken from.
    waiting: bool,
}

#[derive(Debug)]
struct Source {
    tenant: usize,
    weight: f64,
    /// Of all, where everybody wants something.
    fair: f64,
    served: f64,
    waiting: bool,
    /// Outputs that it may still give though the window is full; below zero: given in advance.
    allowance: f64,
    /// Outputs of a record, usually.
    cost: f64,
    /// Found empty in this turn.
    dry: bool,
    /// Passed over in the last turn though it may have more.
    held: bool,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Shares {
    sources: Vec<Source>,
    tenants: Vec<Tenant>,
    clock: f64,
    /// Outputs so far, and those of them that are committed.
    sent: u64,
    committed: u64,
    window: Window,
    /// Outputs that may be given now; none: as many as there are.
    room: Option<f64>,
    at: Millis,
}

#[derive(Debug, Default)]
struct Window {
    /// Since when it is busy; the outputs before.
    busy: Option<(Millis, u64)>,
    busy_last: Millis,
    /// The second that is being counted, and the outputs at its beginning.
    second: (Millis, u64),
    look: Option<(Millis, Look)>,
}

impl Window {
    fn limit(&self) -> f64 {
        let pace = self.look.map_or(0.0, |(_, look)| look.pace);
        if pace > 0.0 { (pace * TARGET).max(WINDOW_MIN) } else { WINDOW_FIRST }
    }

    /// `held`: somebody was passed over; what gets through slowly is no sign of calm then.
    fn count(&mut self, now: Millis, sent: u64, held: bool) {
        // Before the next second is begun: a turn may take longer than one.
        if sent - self.second.1 >= BUSY {
            self.busy_last = now;
            self.busy.get_or_insert((now, self.second.1));
        } else if held {
            self.busy_last = now;
        } else if self.busy.is_some() && now >= self.busy_last + BUSY_FOR {
            (self.busy, self.look) = (None, None);
        }
        if now >= self.second.0 + SECOND {
            self.second = (now, sent);
        }
    }

    /// None: no limit.
    fn room(&self, now: Millis, sent: u64) -> Option<f64> {
        let (since, before) = self.busy.unwrap_or(self.second);
        let (seen, look) = match self.look {
            Some((at, look)) => (at, look),
            None => (since, Look { committed: before, ..Look::default() }),
        };
        let flying = sent.saturating_sub(look.committed) as f64;
        let limit = self.limit();
        let left = (limit - look.largest as f64).min(limit * TOTAL - look.waiting as f64);
        (now < seen + LOOK_MAX).then_some(left - flying)
    }
}

impl Shares {
    /// An input for each share, in this order.
    pub(crate) fn new<'a>(shares: impl IntoIterator<Item = &'a Share>) -> Self {
        let shares: Vec<&Share> = shares.into_iter().collect();
        let weight = |share: &Share| f64::from(share.weight.max(1));
        // Of each tenant: its number, and the weights of its sources.
        let mut names: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
        for share in &shares {
            let next = names.len();
            names.entry(&share.tenant).or_insert((next, 0.0)).1 += weight(share);
        }
        let tenants = names.iter().map(|_| Tenant { served: 0.0, clock: 0.0, waiting: false }).collect();
        let source = |share: &&Share| {
            let (tenant, total) = names.get(share.tenant.as_str()).copied().unwrap_or((0, 1.0));
            let fair = weight(share) / total / names.len() as f64;
            Source {
                tenant,
                weight: weight(share),
                fair,
                served: 0.0,
                waiting: false,
                allowance: fair * PACE_FIRST / 2.0,
                cost: COST_FIRST,
                dry: false,
                held: false,
            }
        };
        Self {
            sources: shares.iter().map(source).collect(),
            tenants,
            clock: 0.0,
            sent: 0,
            committed: 0,
            window: Window::default(),
            room: None,
            at: 0,
        }
    }

    /// A turn begins. `look`: the newest, where there is one that was not told yet.
    pub(crate) fn begin(&mut self, now: Millis, look: Option<Look>) {
        let seconds = now.saturating_sub(self.at) as f64 / 1000.0;
        self.at = now;
        if let Some(look) = look {
            self.window.look = Some((now, look));
        }
        let held = self.sources.iter().any(|source| source.held);
        self.window.count(now, self.sent, held);
        self.room = self.window.room(now, self.sent);
        let known = self.window.look.map(|(_, look)| look.pace).filter(|pace| *pace > 0.0);
        let pace = known.map_or(PACE_FIRST, |pace| pace.max(PACE_MIN));
        for source in &mut self.sources {
            // A second's worth can be saved up, and given in advance.
            let each = source.fair * pace / 2.0;
            let most = each.max(1.0);
            source.allowance = (source.allowance + each * seconds).clamp(-most, most);
            (source.dry, source.held) = (false, false);
        }
    }

    /// Whether it is to be looked what waits downstream.
    pub(crate) fn is_busy(&self) -> bool {
        self.window.busy.is_some()
    }

    /// Outputs that have been committed: what a look that begins now counts from.
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// What may wait downstream, while it is busy.
    pub(crate) fn limit(&self) -> Option<f64> {
        self.is_busy().then(|| self.window.limit())
    }

    /// The input to be taken from now, and how many records at most. None: nobody is left who may and has something.
    pub(crate) fn next(&mut self) -> Option<(usize, usize)> {
        let room = self.room;
        let may = |s: &Source| room.is_none_or(|room| room > 0.0) || s.allowance > 0.0;
        for source in &mut self.sources {
            source.held = !source.dry && !may(source);
        }
        let standing = |s: &Source| {
            let tenant = &self.tenants[s.tenant];
            let among = if tenant.waiting { tenant.served } else { tenant.served.max(self.clock) };
            let within = if s.waiting { s.served } else { s.served.max(tenant.clock) };
            // Who is below half of his share comes before those who catch up.
            (s.allowance <= 0.0, among, s.tenant, within)
        };
        let wanting = self.sources.iter().enumerate().filter(|(_, s)| !s.dry && !s.held);
        let least = wanting.min_by(|(_, a), (_, b)| {
            let (a, b) = (standing(a), standing(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)).then(a.3.total_cmp(&b.3))
        });
        let (index, source) = least?;
        let most = match room {
            Some(room) => room.max(source.allowance) / source.cost,
            None => QUANTUM,
        };
        // What was checked to be above zero is at least one record.
        Some((index, most.clamp(1.0, QUANTUM) as usize))
    }

    /// So many records were taken; `dry`: there were no more.
    pub(crate) fn took(&mut self, index: usize, records: usize, dry: bool) {
        let Some(source) = self.sources.get_mut(index) else { return };
        source.dry = dry;
        if records > 0 {
            let tenant = &mut self.tenants[source.tenant];
            if !tenant.waiting {
                tenant.served = tenant.served.max(self.clock);
            }
            if !source.waiting {
                source.served = source.served.max(tenant.clock);
            }
            self.clock = self.clock.max(tenant.served);
            tenant.clock = tenant.clock.max(source.served);
            let cost = records as f64 * source.cost;
            self.charge(index, cost);
            if let Some(room) = &mut self.room {
                *room -= cost;
            }
        }
        if let Some(source) = self.sources.get_mut(index) {
            source.waiting = !dry;
            let tenant = source.tenant;
            self.tenants[tenant].waiting = self.sources.iter().any(|s| s.tenant == tenant && s.waiting);
        }
    }

    fn charge(&mut self, index: usize, cost: f64) {
        let source = &mut self.sources[index];
        source.served += cost / source.weight;
        source.allowance -= cost;
        self.tenants[source.tenant].served += cost;
    }

    /// What they became, of those that were taken since the last time.
    pub(crate) fn made(&mut self, index: usize, records: u64, outputs: u64) {
        let Some(source) = self.sources.get_mut(index).filter(|_| records > 0) else { return };
        // What becomes nothing was work too.
        let paid = outputs.max(records) as f64;
        let more = paid - records as f64 * source.cost;
        let each = paid / records as f64;
        source.cost += (each - source.cost) * (1.0 - (1.0 - COST_WEIGHT).powf(records as f64));
        self.charge(index, more);
        self.sent += outputs;
    }

    /// All that was made is in.
    pub(crate) fn merged(&mut self) {
        self.committed = self.sent;
    }

    /// Inputs that were passed over in this turn.
    pub(crate) fn held(&self) -> impl Iterator<Item = usize> {
        self.sources.iter().enumerate().filter(|(_, s)| s.held).map(|(index, _)| index)
    }
}
