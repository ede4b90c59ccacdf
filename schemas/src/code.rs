//! Every reason code: bounded, so that it can be a metric's label. One line each; add here, sorted within its group.
use crate::detection::text_enum;

text_enum! {
    /// Why a record, or a part of one, was dead-lettered, dropped, refused or failed.
    Code {
        // the door
        BadEncoding = "bad_encoding", Compression = "bad_compression", ContentType = "unsupported_content_type", Empty = "empty",
        Expanded = "expands_too_far", TooLarge = "too_large", TooDeep = "too_deep", TooMany = "too_many", UnknownSource = "unknown_source",
        // reading
        InvalidCsv = "invalid_csv", InvalidJson = "invalid_json", InvalidXml = "invalid_xml", XmlEntity = "xml_entity", Truncated = "truncated",
        UnknownFormat = "unknown_format", UnsupportedEvent = "unsupported_event", MissingField = "missing_field", InvalidField = "invalid_field",
        InvalidTime = "invalid_time", InvalidStix = "invalid_stix",
        // the wire
        NullValue = "null_value", NotAvro = "not_avro", UnknownSchema = "unknown_schema", WrongSchema = "wrong_schema", DecodeFailed = "decode_failed",
        EncodeFailed = "encode_failed",
        // stages
        Duplicate = "duplicate", RateLimited = "rate_limited", NoMatch = "no_match", NotInVersion = "not_in_version", When = "when_false", Filtered = "filtered", Gathered = "gathered",
        InventoryOnly = "inventory_only", StepFailed = "step_failed", Clearance = "above_clearance", ConvertFailed = "convert_failed", UnknownVersion = "unknown_version",
        Replay = "not_live", OtherStage = "replayed_for_another_stage", Revoked = "revoked", Internal = "internal",
        // incidents
        Joined = "joined", NoIncident = "no_incident", Unanswered = "unanswered", UnknownIncident = "unknown_incident", UnknownWait = "unknown_wait",
        UnknownChoice = "unknown_choice", Rejected = "rejected", Claimed = "claimed", Closed = "closed", NotAllowed = "not_allowed",
        // sinks
        SinkRejected = "sink_rejected", UnknownSink = "unknown_sink",
        // commands
        VersionConflict = "version_conflict", NotFound = "not_found", InvalidDefinition = "invalid_definition", NotYetSupported = "not_yet_supported",
        Other = "other",
    }
}
