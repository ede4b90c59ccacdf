//! The canonical asset of an event (docs/normalization.md): inventory id, else `host:<fqdn>`, else `ip:<address>`, with
//! `<zone>/` before it in OT.
//!
//! Owns the view of the inventory (table `assets`) and its indices by address and by name. Must not know: formats, STIX.
use atio_schemas::{
    Code, Codec,
    detection::{AssetResolvedBy, Zone},
    reference::ReferenceRow,
};
use atio_stage::{StageError, View};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// The table's name.
pub const TABLE: &str = "assets";

/// A canonical asset, and how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    pub id: String,
    pub by: AssetResolvedBy,
}

/// The inventory by address and by host name. Two assets that claim the same one: the id that sorts first has it, always.
#[derive(Clone, Default)]
pub struct Assets {
    codec: Option<Codec>,
    rows: HashMap<Arc<str>, Row>,
    by_address: HashMap<IpAddr, BTreeSet<Arc<str>>>,
    by_name: HashMap<String, BTreeSet<Arc<str>>>,
}

#[derive(Clone, Default)]
struct Row {
    addresses: Vec<IpAddr>,
    names: Vec<String>,
}

impl Assets {
    /// An empty inventory that reads its rows with this codec.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self { codec: Some(codec), ..Self::default() }
    }

    #[must_use]
    pub fn by_address(&self, address: &IpAddr) -> Option<&str> {
        if self.by_address.is_empty() {
            return None;
        }
        self.by_address.get(&address.to_canonical())?.first().map(|id| &**id)
    }

    /// `name` in any case, with or without the root's dot.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&str> {
        if self.by_name.is_empty() {
            return None;
        }
        self.by_name.get(&host_name(name))?.first().map(|id| &**id)
    }

    /// Puts or replaces a row.
    ///
    /// # Errors
    /// `invalid_field`: an address is none; the row is left out.
    pub fn put(&mut self, row: &ReferenceRow) -> Result<(), StageError> {
        self.remove(&row.id);
        let addresses = cells(row, "addresses").map(|text| {
            text.parse::<IpAddr>().map(|a| a.to_canonical()).map_err(|_| StageError {
                code: Code::InvalidField,
                message: format!("asset {}: {text:?} is no address", row.id),
            })
        });
        let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = cells(row, "hostnames").map(host_name).collect();
        let id: Arc<str> = Arc::from(row.id.as_str());
        for address in &addresses {
            self.by_address.entry(*address).or_default().insert(Arc::clone(&id));
        }
        for name in &names {
            self.by_name.entry(name.clone()).or_default().insert(Arc::clone(&id));
        }
        self.rows.insert(id, Row { addresses, names });
        Ok(())
    }

    fn remove(&mut self, id: &str) {
        let Some(row) = self.rows.remove(id) else { return };
        for address in row.addresses {
            forget(&mut self.by_address, &address, id);
        }
        for name in row.names {
            forget(&mut self.by_name, &name, id);
        }
    }
}

fn forget<K: std::hash::Hash + Eq>(index: &mut HashMap<K, BTreeSet<Arc<str>>>, key: &K, id: &str) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

/// Several values in one cell are separated by `;`, `,` or blanks.
fn cells<'r>(row: &'r ReferenceRow, column: &str) -> impl Iterator<Item = &'r str> {
    let cell = row.columns.get(column).map_or("", String::as_str);
    cell.split(|c: char| c == ';' || c == ',' || c.is_whitespace()).filter(|part| !part.is_empty())
}

impl View for Assets {
    fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StageError> {
        let Some(value) = value else {
            if let Ok(id) = std::str::from_utf8(key) {
                self.remove(id);
            }
            return Ok(());
        };
        let Some(codec) = &self.codec else {
            return Err(StageError { code: Code::Internal, message: "the view has no codec".to_owned() });
        };
        let row: ReferenceRow = codec
            .decode(value)
            .map_err(|e| StageError { code: e.code(), message: format!("assets: {e}") })?;
        self.put(&row)
    }
    fn fork(&self) -> Box<dyn View> {
        Box::new(self.clone())
    }
}

/// Lower case, without the root's dot.
fn host_name(name: &str) -> String {
    name.trim().trim_end_matches('.').to_ascii_lowercase()
}

/// The asset of something that has a host name, an address, or both.
pub(crate) fn of_host(
    assets: &Assets,
    zone: Zone,
    address: Option<&IpAddr>,
    name: Option<&str>,
) -> Option<Asset> {
    let name = name.map(host_name).filter(|n| !n.is_empty() && n.parse::<IpAddr>().is_err());
    let known = address.and_then(|a| assets.by_address(a)).or_else(|| assets.by_name(name.as_deref()?));
    let (id, by) = match (known, name, address) {
        (Some(id), _, _) => (zoned(zone, "", id), AssetResolvedBy::Inventory),
        (None, Some(name), _) => (zoned(zone, "host:", &name), AssetResolvedBy::Host),
        (None, None, Some(address)) => {
            (zoned(zone, "ip:", &address.to_canonical().to_string()), AssetResolvedBy::Address)
        }
        (None, None, None) => return None,
    };
    Some(Asset { id, by })
}

/// The asset of an event without addresses: its sensor.
pub(crate) fn of_sensor(assets: &Assets, zone: Zone, sensor: &str) -> Asset {
    match assets.by_name(sensor) {
        Some(id) => Asset { id: zoned(zone, "", id), by: AssetResolvedBy::Inventory },
        None => Asset { id: zoned(zone, "host:", &host_name(sensor)), by: AssetResolvedBy::Sensor },
    }
}

fn zoned(zone: Zone, kind: &str, name: &str) -> String {
    let prefix = match zone {
        Zone::It => "",
        Zone::Ot => "ot/",
    };
    [prefix, kind, name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, addresses: &str, hostnames: &str) -> ReferenceRow {
        let columns = [("addresses", addresses), ("hostnames", hostnames)];
        ReferenceRow {
            table: TABLE.to_owned(),
            id: id.to_owned(),
            columns: columns.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        }
    }

    fn resolve(assets: &Assets, zone: Zone, address: Option<&str>, name: Option<&str>) -> Option<String> {
        let address = address.map(|a| a.parse::<IpAddr>().unwrap());
        of_host(assets, zone, address.as_ref(), name).map(|asset| format!("{} {}", asset.id, asset.by))
    }

    #[test]
    fn inventory_then_host_then_address() {
        let mut assets = Assets::default();
        assets.put(&row("srv-1", "10.0.0.1; fd00:0:0::1", "Web.Example.ORG.")).unwrap();
        let it = |a, n| resolve(&assets, Zone::It, a, n);
        assert_eq!(it(Some("10.0.0.1"), None).unwrap(), "srv-1 inventory");
        assert_eq!(it(Some("::ffff:10.0.0.1"), None).unwrap(), "srv-1 inventory");
        assert_eq!(it(Some("fd00::1"), Some("other")).unwrap(), "srv-1 inventory");
        assert_eq!(it(Some("10.0.0.9"), Some("WEB.example.org")).unwrap(), "srv-1 inventory");
        assert_eq!(it(Some("10.0.0.9"), Some("DB.Example.org.")).unwrap(), "host:db.example.org host");
        assert_eq!(it(Some("10.0.0.9"), Some("10.0.0.9")).unwrap(), "ip:10.0.0.9 address");
        assert_eq!(it(None, None), None);
        assert_eq!(resolve(&assets, Zone::Ot, Some("10.0.0.9"), None).unwrap(), "ot/ip:10.0.0.9 address");
        assert_eq!(of_sensor(&assets, Zone::It, "Probe").id, "host:probe");
    }

    #[test]
    fn rows_change_and_vanish() {
        let mut assets = Assets::default();
        assets.put(&row("b", "10.0.0.1", "")).unwrap();
        assets.put(&row("a", "10.0.0.1", "")).unwrap();
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(assets.by_address(&address), Some("a"));
        assets.apply(b"a", None).unwrap();
        assert_eq!(assets.by_address(&address), Some("b"));
        assets.put(&row("b", "10.0.0.2", "")).unwrap();
        assert_eq!(assets.by_address(&address), None);
        assert_eq!(assets.put(&row("b", "10.0.0.300", "")).unwrap_err().code, Code::InvalidField);
        assert!(assets.rows.is_empty() && assets.by_address.is_empty());
    }
}
