//! Answers: bodies, HTTP statuses and Confluent's error codes.
use super::LogError;
use crate::compat::Level;
use crate::store::Refusal;
use serde_json::{Value, json};

/// The media type of every answer. Requests may also say `application/json`, or nothing.
pub const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// What goes back: JSON of type [`CONTENT_TYPE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Response {
    #[expect(clippy::needless_pass_by_value, reason = "made for this")]
    pub(super) fn ok(value: Value) -> Self {
        Self { status: 200, body: value.to_string().into_bytes() }
    }
}

/// Why a request gets an error.
#[derive(Debug)]
pub(super) enum Fault {
    NoPath,
    Method,
    TooLarge,
    Body(String),
    NoSchema,
    NoId(i32),
    NoLevel(String),
    Version(String),
    Level,
    Mode,
    Subject,
    Unsupported(&'static str),
    Refused(Refusal),
    Log(LogError),
}

impl Fault {
    pub(super) fn no_subject(subject: &str) -> Self {
        Self::Refused(Refusal::NoSubject(subject.to_owned()))
    }

    /// Confluent's code; its first three digits are the HTTP status.
    const fn code(&self) -> u32 {
        match self {
            Self::NoPath => 404,
            Self::Method => 405,
            Self::TooLarge => 413,
            Self::Body(_) => 400,
            Self::NoSchema | Self::NoId(_) => 40403,
            Self::NoLevel(_) => 40408,
            Self::Version(_) => 42202,
            Self::Level => 42203,
            Self::Mode => 42204,
            Self::Subject => 42208,
            Self::Unsupported(_) => 42201,
            Self::Log(_) => 50001,
            Self::Refused(refusal) => match refusal {
                Refusal::InvalidSchema(_) => 42201,
                Refusal::Incompatible(_) => 409,
                Refusal::NoSubject(_) => 40401,
                Refusal::NoVersion(_) => 40402,
                Refusal::SubjectSoftDeleted(_) => 40404,
                Refusal::SubjectNotDeleted(_) => 40405,
                Refusal::VersionSoftDeleted(..) => 40406,
                Refusal::VersionNotDeleted(..) => 40407,
                Refusal::Full => 422,
                Refusal::Internal(_) => 50001,
            },
        }
    }

    fn message(&self) -> String {
        let levels =
            "NONE, BACKWARD, BACKWARD_TRANSITIVE, FORWARD, FORWARD_TRANSITIVE, FULL, FULL_TRANSITIVE";
        match self {
            Self::NoPath => "HTTP 404 Not Found".into(),
            Self::Method => "HTTP 405 Method Not Allowed".into(),
            Self::TooLarge => format!("the body is longer than {} bytes", super::MAX_BODY),
            Self::Body(reason) => format!("the body is not the JSON that it should be: {reason}"),
            Self::NoSchema => "Schema not found".into(),
            Self::NoId(id) => format!("Schema {id} not found"),
            Self::NoLevel(subject) => {
                format!("Subject '{subject}' does not have subject-level compatibility configured")
            }
            Self::Version(text) => format!(
                "The specified version '{text}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
            ),
            Self::Level => format!(
                "Invalid compatibility level. Valid values are {levels}; {} is the default",
                Level::default()
            ),
            Self::Mode => "Invalid mode. Only READWRITE is supported".into(),
            Self::Subject => "The subject must have 1 to 512 bytes and no control characters".into(),
            Self::Unsupported(reason) => (*reason).into(),
            Self::Refused(refusal) => refusal.to_string(),
            Self::Log(error) => format!("Error in the backend data store: {error}"),
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<Fault> for Response {
    fn from(fault: Fault) -> Self {
        let code = fault.code();
        let status = if code >= 1000 { code / 100 } else { code };
        let body = json!({"error_code": code, "message": fault.message()});
        Self { status: u16::try_from(status).unwrap_or(500), body: body.to_string().into_bytes() }
    }
}
