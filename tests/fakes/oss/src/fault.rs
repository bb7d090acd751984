//! What goes wrong, as the store says it: a status, a code, and XML.

use http::{Response, StatusCode, header};

use crate::reply::{Body, element, full};

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct Fault {
    status: u16,
    code: &'static str,
    message: String,
    details: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
}

impl Fault {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: Vec::new(), headers: Vec::new() }
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    pub(crate) fn no_key(key: &str) -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.").detail("Key", key)
    }

    pub(crate) fn no_upload(id: &str) -> Self {
        Self::new(404, "NoSuchUpload", "The specified upload does not exist. It may be over.")
            .detail("UploadId", id)
    }

    pub(crate) fn exists(key: &str) -> Self {
        Self::new(409, "FileAlreadyExists", "The object exists already and can not be overwritten.")
            .detail("Key", key)
    }

    pub(crate) fn precondition(condition: &str) -> Self {
        Self::new(412, "PreconditionFailed", "At least one of the pre-conditions did not hold.")
            .detail("Condition", condition)
    }

    pub(crate) fn internal(error: &std::io::Error) -> Self {
        Self::new(500, "InternalError", error.to_string())
    }

    pub(crate) fn detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The answer; one to a HEAD request has no body.
    pub(crate) fn response(&self, request_id: &str, host: &str, bodiless: bool) -> Response<Body> {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
        element(&mut xml, "Code", self.code);
        element(&mut xml, "Message", &self.message);
        element(&mut xml, "RequestId", request_id);
        element(&mut xml, "HostId", host);
        for (name, value) in &self.details {
            element(&mut xml, name, value);
        }
        xml.push_str("</Error>");
        let mut response = Response::new(full(if bodiless { String::new() } else { xml }));
        *response.status_mut() = StatusCode::from_u16(self.status).expect("a status of three digits");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, "application/xml".parse().expect("a header value"));
        for (name, value) in &self.headers {
            headers.insert(*name, value.parse().expect("a header value"));
        }
        response
    }
}
