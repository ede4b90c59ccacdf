//! Objects are written as serde_json writes the same members, whatever their texts hold.
use super::*;
use crate::json::tests::strings;
use crate::stamp::Stamp;
use proptest::prelude::*;
use serde_json::json;

fn check(object: &impl StixObject, expected: &serde_json::Value) -> Result<(), TestCaseError> {
    let written = String::from_utf8(object.json()?).unwrap();
    prop_assert_eq!(written, serde_json::to_string(expected)?);
    Ok(())
}

proptest! {
    #[test]
    fn a_domain_object(a in strings(), b in strings(), confidence in any::<u8>(), revoked in any::<bool>()) {
        let reference = ExternalReference::new(a.as_str(), b.as_str());
        let object = Identity {
            common: Common {
                created_by_ref: Some(crate::constants::atio_identity_id()),
                revoked,
                labels: vec![b.as_str().into(), a.as_str().into()],
                confidence: Some(confidence),
                external_references: vec![reference],
                object_marking_refs: vec![Id::Text(&b), Id::Own("identity", uuid::Uuid::NAMESPACE_DNS)],
                extensions: Extensions(vec![Extension::Value(b.as_str().into(), json!({ a.as_str(): [&b, -0.5] }))]),
                ..Common::fixed(Id::Text(&a))
            },
            name: a.as_str().into(),
            identity_class: Some(b.as_str().into()),
            ..Identity::default()
        };
        let mut expected = json!({
            "type": "identity", "spec_version": "2.1", "id": a,
            "created_by_ref": crate::constants::IDENTITY_ID,
            "created": Stamp::FIXED.as_str(), "modified": Stamp::FIXED.as_str(), "revoked": true,
            "name": a, "identity_class": b,
            "labels": [b, a], "confidence": confidence,
            "external_references": [{ "source_name": a, "external_id": b }],
            "object_marking_refs": [b, "identity--6ba7b810-9dad-11d1-80b4-00c04fd430c8"],
            "extensions": { b.as_str(): { a.as_str(): [b, -0.5] } },
        });
        if !revoked {
            expected.as_object_mut().unwrap().shift_remove("revoked");
        }
        check(&object, &expected)?;
    }

    #[test]
    fn an_observable(a in strings(), b in strings(), size in any::<u64>(), port in any::<u16>()) {
        let request = HttpRequest {
            request_header: vec![(a.as_str().into(), vec![b.as_str().into()])],
            request_method: b.as_str().into(),
            request_value: a.as_str().into(),
            ..HttpRequest::default()
        };
        let common = ScoCommon { defanged: true, ..ScoCommon::new(Id::Text(&b)) };
        let flow = NetworkTraffic {
            common: common.clone(),
            is_active: Some(false),
            src_port: Some(port),
            protocols: vec![a.as_str().into()],
            src_byte_count: Some(size),
            ..NetworkTraffic::default()
        };
        let extension = json!({
            "request_header": { a.as_str(): [b] }, "request_method": b, "request_value": a,
        });
        check(&flow.with_extension(Extension::HttpRequest(request)), &json!({
            "type": "network-traffic", "spec_version": "2.1", "id": b,
            "is_active": false, "src_port": port, "protocols": [a], "src_byte_count": size,
            "defanged": true, "extensions": { "http-request-ext": extension },
        }))?;
        let hashes = Hashes(vec![(a.as_str().into(), b.as_str().into())]);
        check(&File { common, hashes, size: Some(size), name: Some(a.as_str().into()), ..File::default() }, &json!({
            "type": "file", "spec_version": "2.1", "id": b,
            "hashes": { a.as_str(): b }, "size": size, "name": a, "defanged": true,
        }))?;
    }
}
