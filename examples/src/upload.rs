//! Reading what a client sends, within limits of size, of time and of memory for all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, EXPECT, HeaderMap};
use hyper::{Method, StatusCode};

use crate::answer::Failure;

/// How long a client may send nothing.
const SILENCE: Duration = Duration::from_secs(10);

/// How long a client may take for all of it.
const WHOLE: Duration = Duration::from_secs(60);

/// The most memory that uploads may take together, so that many large ones at once do not exhaust it.
const TOGETHER: usize = 1 << 30;

/// The most memory that is set aside for what a client has only announced.
const ON_THEIR_WORD: usize = 1 << 20;

/// How much of a body that nobody wants is read and thrown away, and for how long.
const UNWANTED_BYTES: usize = 64 << 20;
const UNWANTED_TIME: Duration = Duration::from_secs(10);

/// The uploads that are in memory.
#[derive(Debug)]
pub struct Uploads {
    max_body: usize,
    held: Arc<AtomicUsize>,
}

/// What a client sends with its request.
#[derive(Debug)]
pub struct Upload {
    body: Incoming,
    /// It was asked for.
    has_begun: bool,
}

impl From<Incoming> for Upload {
    fn from(body: Incoming) -> Self {
        Upload { body, has_begun: false }
    }
}

/// Memory that counts against the limit for all uploads together, until this is dropped.
#[derive(Debug)]
pub struct Held {
    all: Arc<AtomicUsize>,
    mine: usize,
}

impl Uploads {
    /// Uploads of at most this many bytes each.
    pub fn new(max_body: usize) -> Self {
        Uploads { max_body, held: Arc::default() }
    }

    /// The largest body that is taken.
    pub fn max_body(&self) -> usize {
        self.max_body
    }

    /// Refuses a body whose announced length is too large, before any of it is read.
    ///
    /// # Errors
    /// The answer for the client.
    pub fn check_length(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        // hyper has refused what is not a number.
        match announced.and_then(|length| length.parse::<u64>().ok()) {
            Some(length) if length > self.max_body as u64 => Err(self.too_large()),
            _ => Ok(()),
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The answer for the client.
    pub async fn read(&self, upload: &mut Upload) -> Result<(Vec<u8>, Held), Failure> {
        upload.has_begun = true;
        let body = &mut upload.body;
        let deadline = Instant::now() + WHOLE;
        let mut held = Held { all: self.held.clone(), mine: 0 };
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(announced.min(self.max_body).min(ON_THEIR_WORD));
        loop {
            let patience = deadline.saturating_duration_since(Instant::now()).min(SILENCE);
            let frame = match loopool::timeout(patience, body.frame()).await {
                Ok(None) => return Ok((bytes, held)),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    tracing::debug!("an upload broke off: {error}");
                    let sentence = "The picture was not sent to its end.";
                    return Err(Failure::new(StatusCode::BAD_REQUEST, sentence).and_close());
                }
                Err(_) => {
                    let sentence = "The picture took too long to arrive.";
                    return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, sentence).and_close());
                }
            };
            // Trailers are of no interest.
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > self.max_body {
                return Err(self.too_large());
            }
            held.take(data.len())?;
            bytes.extend_from_slice(&data);
        }
    }

    fn too_large(&self) -> Failure {
        let sentence =
            format!("The picture is too large: at most {} bytes are taken.", self.max_body);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, sentence).and_close()
    }
}

impl Held {
    fn take(&mut self, bytes: usize) -> Result<(), Failure> {
        self.mine += bytes;
        if self.all.fetch_add(bytes, Relaxed) + bytes > TOGETHER {
            let sentence = "Too many pictures arrive at once; please try again in a moment.";
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, sentence).and_close());
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.mine, Relaxed);
    }
}

/// Reads what is left of a body that nobody wants, within reason, while the answer is sent.
///
/// Closing a socket with unread bytes resets it, and a client that is still sending (a browser always
/// is) would then see the reset instead of the answer that tells it why.
pub fn discard(upload: Upload, method: &Method, headers: &HeaderMap) {
    let Upload { mut body, has_begun } = upload;
    // Who waits for "100 Continue" sends nothing before, and reading would ask for it.
    let is_silent = headers.contains_key(EXPECT) && !has_begun;
    if body.is_end_stream() || method == Method::GET || is_silent {
        return;
    }
    let read = async move {
        let mut left = UNWANTED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.len());
            match left.checked_sub(length) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    drop(loopool::create_task(async move {
        let _ = loopool::timeout(UNWANTED_TIME, read).await;
    }));
}
