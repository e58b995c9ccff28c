//! Responses: what every one of them carries, and errors as JSON.

use std::convert::Infallible;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use loopool::{JobError, RejectReason, SystemCall};
use serde::Serialize;

use crate::crashes::{cause_name, denied_call};

/// The body of a response.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A response.
pub type Response = hyper::Response<Body>;

/// A body that is all there.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A good answer.
pub fn ok(content_type: &'static str, bytes: impl Into<Bytes>) -> Response {
    with_body(StatusCode::OK, content_type, full(bytes))
}

/// An answer with what all of ours have: its type, which browsers are not to guess, and no caching,
/// unless somebody says otherwise.
pub fn with_body(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Why a request has no good answer.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    /// For people; a sentence.
    sentence: String,
    /// What became of the job, where there was one.
    cause: Option<Cause>,
    /// The methods that would have been right.
    allow: Option<&'static str>,
    /// Whether the connection has to end, because what else comes over it is not to be read.
    close: bool,
}

/// What became of a job that has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Its name.
    #[serde(rename = "cause")]
    pub name: &'static str,
    /// The signal that its process died of.
    pub signal: Option<i32>,
    /// The code that its process exited with.
    pub exit_code: Option<i32>,
    /// The system call that its sandbox has ended its process for.
    pub syscall: Option<SystemCall>,
}

/// The JSON of a [`Failure`].
#[derive(Serialize)]
struct Told<'a> {
    error: &'a str,
    #[serde(flatten)]
    cause: Option<Cause>,
}

impl Failure {
    /// A failure with a status and a sentence.
    pub fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Failure { status, sentence: sentence.into(), cause: None, allow: None, close: false }
    }

    /// Nothing is there.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is nothing at this address.")
    }

    /// Something is there, but not for this method.
    pub fn wrong_method(allow: &'static str) -> Self {
        let sentence = format!("This address takes only {allow}.");
        Failure { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, sentence) }
    }

    /// A job ran longer than it may.
    pub fn timed_out() -> Self {
        Self::job(
            StatusCode::GATEWAY_TIMEOUT,
            "The job took longer than it may and was given up.",
            "timeout",
        )
    }

    /// A job was not taken.
    pub fn rejected(reason: &RejectReason) -> Self {
        let sentence = match reason {
            RejectReason::QueueFull => {
                "As many pictures wait as may wait; please try again in a moment."
            }
            RejectReason::ShutDown | RejectReason::ShuttingDown => "The service is being stopped.",
            _ => {
                tracing::error!("an executor takes no jobs: {reason}");
                "The service can't run jobs at the moment; please try again later."
            }
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
    }

    /// A job was taken, and came to a bad end.
    pub fn of_job(error: &JobError) -> Self {
        if let Some(report) = error.crash() {
            let end = match (report.signal, report.exit_code) {
                // The call is named already, and says more.
                _ if denied_call(report.cause).is_some() => String::new(),
                (Some(signal), _) => format!(" (signal {signal})"),
                (None, Some(code)) => format!(" (exit code {code})"),
                (None, None) => String::new(),
            };
            let sentence = format!("The job {}{end}. Only this request is affected.", report.cause);
            let cause = Cause {
                name: cause_name(report.cause),
                signal: report.signal,
                exit_code: report.exit_code,
                syscall: denied_call(report.cause),
            };
            let failure = Self::new(StatusCode::INTERNAL_SERVER_ERROR, sentence);
            return Failure { cause: Some(cause), ..failure };
        }
        if error.is_timeout() {
            return Self::timed_out();
        }
        if let Some(message) = error.panic_message() {
            tracing::warn!("a job panicked: {message}");
            let sentence = format!("The job panicked: {message}.");
            return Self::job(StatusCode::INTERNAL_SERVER_ERROR, sentence, "panic");
        }
        if error.is_cancelled() {
            return Self::job(
                StatusCode::SERVICE_UNAVAILABLE,
                "The job was cancelled; please try again.",
                "cancelled",
            );
        }
        if error.is_rejected() || error.is_queue_timeout() {
            tracing::warn!("a job was not run: {error}");
            return Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The job was not run; please try again in a moment.",
            );
        }
        tracing::error!("a job has no result: {error}");
        Self::job(StatusCode::INTERNAL_SERVER_ERROR, format!("The job failed: {error}."), "error")
    }

    fn job(status: StatusCode, sentence: impl Into<String>, name: &'static str) -> Self {
        let cause = Cause { name, signal: None, exit_code: None, syscall: None };
        Failure { cause: Some(cause), ..Self::new(status, sentence) }
    }

    /// Ends the connection with the answer.
    pub fn and_close(mut self) -> Self {
        self.close = true;
        self
    }

    /// What became of the job, where there was one.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// The response that says it.
    pub fn into_response(self) -> Response {
        let told = Told { error: &self.sentence, cause: self.cause };
        // Strings and numbers only, which can't fail.
        let json = serde_json::to_vec(&told).unwrap_or_default();
        let mut response = with_body(self.status, "application/json", full(json));
        let headers = response.headers_mut();
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(failure: Failure) -> serde_json::Value {
        let body = futures_lite::future::block_on(failure.into_response().into_body().collect());
        serde_json::from_slice(&body.unwrap().to_bytes()).unwrap()
    }

    #[test]
    fn an_error_without_a_job_is_a_sentence() {
        let told = json(Failure::not_found());
        assert_eq!(told, serde_json::json!({"error": "There is nothing at this address."}));
    }

    #[test]
    fn an_error_of_a_job_has_all_its_fields() {
        let told = json(Failure::timed_out());
        assert_eq!(told["cause"], "timeout");
        for field in ["signal", "exit_code", "syscall"] {
            assert!(told.get(field).is_some_and(serde_json::Value::is_null), "{field}");
        }
    }

    #[test]
    fn a_full_queue_says_when_to_come_back() {
        let response = Failure::rejected(&RejectReason::QueueFull).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }

    #[test]
    fn a_wrong_method_names_the_right_ones() {
        let response = Failure::wrong_method("GET, HEAD").into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[ALLOW]),
            (405, &HeaderValue::from_static("GET, HEAD"))
        );
    }
}
