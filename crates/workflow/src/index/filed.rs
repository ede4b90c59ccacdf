//! Where triggers are filed: by a text that a column must hold, by a network that an address must lie in, by what a text must start with, by
//! what must stand in it.
//! Owns the look-ups. What is found here may still not hold; what holds is always found. Must not know: which condition a trigger is filed under.
use super::{
    literals::{self, Search},
    predicate::{Test, address},
};
use atio_schemas::column::Cell;
use ipnet::IpNet;
use std::{collections::HashMap, net::IpAddr};

/// Positions of triggers.
type Positions = Vec<usize>;

/// What is filed under one column.
#[derive(Debug, Default)]
pub(super) struct Filed {
    equal: HashMap<Box<str>, Positions>,
    /// By length in bytes, each length that there is.
    prefixes: Vec<(usize, HashMap<Box<str>, Positions>)>,
    /// By length in bits.
    v4: Vec<(u8, HashMap<u32, Positions>)>,
    v6: Vec<(u8, HashMap<u128, Positions>)>,
    within: Search,
}

impl Filed {
    /// Files a trigger; false where such a test is not filed.
    pub(super) fn add(&mut self, test: &Test, position: usize) -> bool {
        match test {
            Test::Texts(texts) => {
                for text in texts {
                    self.equal.entry(text.clone()).or_default().push(position);
                }
            }
            Test::Prefixes(texts) => {
                for text in texts {
                    let map = of_length(&mut self.prefixes, text.len());
                    map.entry(text.clone()).or_default().push(position);
                }
            }
            Test::Networks(networks) => networks.iter().for_each(|network| self.network(network, position)),
            _ => {
                let Some(literals) = literals::of(test) else { return false };
                self.within.add(&literals, position);
            }
        }
        true
    }

    /// To be called when all triggers are there. Those that are to be looked at always.
    #[must_use]
    pub(super) fn finish(&mut self) -> Positions {
        self.within.build()
    }

    fn network(&mut self, network: &IpNet, position: usize) {
        match network {
            IpNet::V4(net) => {
                let map = of_length(&mut self.v4, net.prefix_len());
                map.entry(net.network().to_bits()).or_default().push(position);
            }
            IpNet::V6(net) => {
                let map = of_length(&mut self.v6, net.prefix_len());
                map.entry(net.network().to_bits()).or_default().push(position);
            }
        }
    }

    /// Adds what a column's value may trigger.
    pub(super) fn look_up(&self, cell: Cell<'_>, found: &mut Positions) {
        match cell {
            Cell::Text(text) => self.text(text, found),
            Cell::Texts(texts) => texts.iter().for_each(|text| self.text(text, found)),
            _ => {}
        }
    }

    fn text(&self, text: &str, found: &mut Positions) {
        found.extend(self.equal.get(text).into_iter().flatten());
        for (length, map) in &self.prefixes {
            let start = text.get(..*length);
            found.extend(start.and_then(|start| map.get(start)).into_iter().flatten());
        }
        self.within.look_up(text, found);
        if self.v4.is_empty() && self.v6.is_empty() {
            return;
        }
        match address(text) {
            Some(IpAddr::V4(ip)) => {
                for (length, map) in &self.v4 {
                    let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
                    found.extend(map.get(&(ip.to_bits() & mask)).into_iter().flatten());
                }
            }
            Some(IpAddr::V6(ip)) => {
                for (length, map) in &self.v6 {
                    let mask = u128::MAX.checked_shl(128 - u32::from(*length)).unwrap_or(0);
                    found.extend(map.get(&(ip.to_bits() & mask)).into_iter().flatten());
                }
            }
            None => {}
        }
    }

    /// How many triggers stand under the fullest key.
    #[cfg(test)]
    pub(super) fn fullest(&self) -> usize {
        let v4 = self.v4.iter().flat_map(|(_, m)| m.values());
        let v6 = self.v6.iter().flat_map(|(_, m)| m.values());
        let prefixes = self.prefixes.iter().flat_map(|(_, m)| m.values());
        self.equal
            .values()
            .chain(v4)
            .chain(v6)
            .chain(prefixes)
            .map(Vec::len)
            .max()
            .unwrap_or(0)
            .max(self.within.fullest())
    }
}

/// The map of a length; lengths are few.
fn of_length<L: PartialEq, K>(
    maps: &mut Vec<(L, HashMap<K, Positions>)>,
    length: L,
) -> &mut HashMap<K, Positions> {
    let at = maps.iter().position(|(l, _)| *l == length).unwrap_or_else(|| {
        maps.push((length, HashMap::new()));
        maps.len() - 1
    });
    &mut maps[at].1
}
