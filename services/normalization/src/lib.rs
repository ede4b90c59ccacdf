//! Raw events to detections in STIX 2.1.
