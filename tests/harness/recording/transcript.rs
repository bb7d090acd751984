//! The recording: requests, and what 0.9.1 answered.
//!
//! Both are printed by Python. Long bodies are cut off; for answers the true length stands beside them.

/// The recorded exchanges in their order.
pub(crate) fn exchanges() -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    for line in include_str!("standalone.txt").lines() {
        if let Some(request) = line.strip_prefix(">> ") {
            exchanges.push(Exchange::begin(request));
        } else if let Some(exchange) = exchanges.last_mut() {
            exchange.add(line);
        }
    }
    exchanges
}

/// One request and its answer.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) request_headers: Vec<(String, String)>,
    /// The beginning of the request's body; all of it when it is short.
    pub(crate) request_body: Vec<u8>,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// The beginning of the answer's body.
    pub(crate) body: Vec<u8>,
    /// Length of the answer's whole body in bytes, as far as it arrived.
    pub(crate) body_length: usize,
}

impl Exchange {
    fn begin(request: &str) -> Self {
        let (method, rest) = request.split_once(' ').expect("a method and a target");
        let (target, rest) = rest.split_once(' ').expect("a target");
        let (headers, body) = rest.split_once("body=").unwrap_or((rest, "b''"));
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            request_headers: python_dict(headers.trim()),
            request_body: python_bytes(body),
            ..Self::default()
        }
    }

    fn add(&mut self, line: &str) {
        if let Some(status) = line.strip_prefix("<< ") {
            self.status = status[..3].parse().expect("a status");
        } else if let Some(body) = line.strip_prefix("    body[") {
            let (length, body) = body.split_once("]: ").expect("a body");
            self.body_length = length.parse().expect("a length");
            self.body = python_bytes(body);
        } else if let Some(header) = line.strip_prefix("    ") {
            let (name, value) = header.split_once(": ").expect("a header");
            self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn request_header(&self, name: &str) -> Option<&str> {
        self.request_headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// `{'name': 'value', …}`, or nothing.
fn python_dict(text: &str) -> Vec<(String, String)> {
    let Some(text) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
        return Vec::new();
    };
    let mut texts = text.split('\'').skip(1).step_by(2).map(str::to_owned);
    std::iter::from_fn(|| Some((texts.next()?, texts.next()?))).collect()
}

/// `b'…'`, perhaps cut off in the middle.
fn python_bytes(text: &str) -> Vec<u8> {
    let text = text.strip_prefix("b").expect("bytes");
    let quote = text.as_bytes()[0];
    let mut bytes = Vec::new();
    let mut rest = text[1..].bytes();
    while let Some(byte) = rest.next() {
        if byte == quote {
            break;
        }
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b'r') => bytes.push(b'\r'),
            Some(b't') => bytes.push(b'\t'),
            Some(b'x') => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                // Cut off inside an escape.
                let Ok(digits) = <[u8; 2]>::try_from(digits) else { break };
                let digits = std::str::from_utf8(&digits).expect("digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal digits"));
            }
            Some(other) => bytes.push(other),
            None => break,
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recording_is_read_completely() {
        let exchanges = exchanges();
        assert_eq!(exchanges.len(), 170);
        assert!(exchanges.iter().all(|exchange| exchange.status >= 200));
        assert_eq!(python_bytes(r#"b'a\n\x00\'"\\'"#), b"a\n\0'\"\\");
        assert_eq!(python_bytes(r"b'a\x0"), b"a");
    }
}
