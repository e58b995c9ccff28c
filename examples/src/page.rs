//! The page: three files, built into the program.

use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY};

use crate::answer::{self, Response};

/// Nothing from elsewhere, nothing inline; pictures also from memory, for the preview.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The file of the page at a path.
pub fn file(path: &str) -> Option<Response> {
    let (content_type, text) = match path {
        "/" => ("text/html; charset=utf-8", include_str!("../page/index.html")),
        "/page.css" => ("text/css; charset=utf-8", include_str!("../page/page.css")),
        "/page.js" => ("text/javascript; charset=utf-8", include_str!("../page/page.js")),
        _ => return None,
    };
    let mut response = answer::ok(content_type, text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}
