//! STIX 2.1: objects, ids, bundles, the ATIO extension, graphs. Pure.
