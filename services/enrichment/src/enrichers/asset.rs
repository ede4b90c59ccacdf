//! Owner, criticality, exposure and policies of the asset, from the inventory (table `assets`).
use super::{Enricher, Missing, cells};
use atio_schemas::{
    Code, Codec, Detection,
    detection::{AssetResolvedBy, Criticality, Exposure},
    reference::ReferenceRow,
};
use atio_stage::{StageError, Tx, View};
use std::{collections::HashMap, sync::Arc};

pub const TABLE: &str = "assets";

/// What the inventory says of an asset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssetRow {
    pub owner: Option<String>,
    pub criticality: Option<Criticality>,
    pub exposure: Option<Exposure>,
    pub policies: Vec<String>,
}

#[derive(Clone)]
pub struct Assets {
    codec: Codec,
    rows: HashMap<Arc<str>, Arc<AssetRow>>,
}

impl Assets {
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self { codec, rows: HashMap::new() }
    }
}

impl View for Assets {
    fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StageError> {
        let id = String::from_utf8_lossy(key);
        self.rows.remove(&*id);
        let Some(value) = value else { return Ok(()) };
        let fail = |code, message: String| StageError { code, message };
        let row: ReferenceRow = self.codec.decode(value).map_err(|e| fail(e.code(), e.to_string()))?;
        let cell = |name: &str| row.columns.get(name).map(|c| c.trim()).filter(|c| !c.is_empty());
        let wrong = |name: &str, text: &str| {
            fail(Code::InvalidField, format!("asset {id}: {name} {text:?} is not known"))
        };
        let criticality = cell("criticality")
            .map(|c| Criticality::parse(&c.to_lowercase()).ok_or_else(|| wrong("criticality", c)));
        let exposure =
            cell("exposure").map(|c| Exposure::parse(&c.to_lowercase()).ok_or_else(|| wrong("exposure", c)));
        let read = AssetRow {
            owner: cell("owner").map(str::to_owned),
            criticality: criticality.transpose()?,
            exposure: exposure.transpose()?,
            policies: cells(cell("policies").unwrap_or_default()).map(str::to_owned).collect(),
        };
        self.rows.insert(Arc::from(&*id), Arc::new(read));
        Ok(())
    }
    fn fork(&self) -> Box<dyn View> {
        Box::new(self.clone())
    }
}

pub(crate) struct OfAsset;

impl Enricher for OfAsset {
    fn enrich(&self, d: &mut Detection, tx: &mut Tx<'_>) -> Result<Option<Missing>, StageError> {
        let assets: &Assets = tx.table(TABLE)?;
        let Some(asset) =
            d.asset.as_deref().filter(|_| d.asset_resolved_by == Some(AssetResolvedBy::Inventory))
        else {
            return Ok(None);
        };
        // An OT asset's canonical id has its zone before it; the inventory's key has not.
        let id = asset.strip_prefix("ot/").unwrap_or(asset);
        let Some(row) = assets.rows.get(id).or_else(|| assets.rows.get(asset)) else {
            return Ok(Some(Missing(TABLE)));
        };
        d.criticality = row.criticality;
        d.exposure = row.exposure;
        d.policies.clone_from(&row.policies);
        if let Some(owner) = &row.owner {
            d.labels.push(format!("owner:{owner}"));
        }
        Ok(None)
    }
}
