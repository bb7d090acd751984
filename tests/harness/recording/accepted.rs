//! In what our answers differ from those of 0.9.1, each difference with its name.

use super::{A, B, C, Difference, RECORDED_HOST, transcript::Exchange};

/// A difference that is meant.
pub(super) struct Accepted {
    pub(super) name: &'static str,
    pub(super) covers: fn(&Exchange, &Difference) -> bool,
    pub(super) uses: u32,
}

/// Headers that 0.9.1's framework leaves out of its own answers, and its body.
const FRAMEWORK: [&str; 6] = ["body", "content-type", "content-length", "cache-control", "pragma", "expires"];

/// Every difference that is meant.
pub(super) fn accepted() -> Vec<Accepted> {
    let mut entries = Vec::new();
    let mut accept = |name, covers: fn(&Exchange, &Difference) -> bool| {
        entries.push(Accepted { name, covers, uses: 0 });
    };

    // Values that are new each time.
    accept("random signature", |_, difference| {
        let rest = |token: &Option<String>| {
            let (signature, rest) =
                token.as_deref()?.strip_prefix("Token signature=")?.split_at_checked(16)?;
            let random = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
            signature.bytes().all(random).then(|| rest.to_owned())
        };
        difference.in_any(&["www-authenticate", "x-docker-token"])
            && rest(&difference.recorded).is_some()
            && rest(&difference.recorded) == rest(&difference.ours)
    });
    accept("a year from now", |_, difference| {
        let is_date = |date: &Option<String>| {
            date.as_deref().is_some_and(|date| date.len() == 29 && date.ends_with(" GMT"))
        };
        difference.aspect == "expires" && is_date(&difference.recorded) && is_date(&difference.ours)
    });
    accept("time of the last update", |exchange, difference| {
        let before_number = |body: &Option<String>| {
            let (before, after) = body.as_deref()?.split_once("\"last_update\": ")?;
            Some((
                before.to_owned(),
                after.trim_start_matches(|digit: char| digit.is_ascii_digit()).to_owned(),
            ))
        };
        exchange.target.ends_with("/json")
            && difference.aspect == "body"
            && before_number(&difference.recorded).is_some()
            && before_number(&difference.recorded) == before_number(&difference.ours)
    });

    // What is different on purpose.
    accept("errors of the framework are JSON, not HTML", |exchange, difference| {
        matches!(exchange.status, 404 | 405)
            && exchange.header("content-type") == Some("text/html")
            && difference.in_any(&FRAMEWORK)
            && difference
                .ours
                .as_deref()
                .is_some_and(|ours| difference.aspect != "body" || ours.starts_with("{\"error\": \""))
    });
    accept("redirects are relative and have no body", |exchange, difference| {
        let absolute = difference.ours.as_deref().map(|ours| format!("http://{RECORDED_HOST}{ours}"));
        exchange.status == 301
            && match difference.aspect.as_str() {
                "location" => difference.recorded == absolute,
                "body" => difference.ours.as_deref() == Some(""),
                "content-length" => difference.ours.as_deref() == Some("0"),
                "content-type" => difference.ours.is_none(),
                _ => false,
            }
    });
    accept("the ping names the version whose API this is", |exchange, difference| {
        exchange.target.ends_with("/_ping") && difference.is("x-docker-registry-version", None, Some("0.9.1"))
    });
    accept("an empty answer to OPTIONS has no type", |exchange, difference| {
        exchange.method == "OPTIONS" && difference.is("content-type", Some("text/html; charset=utf-8"), None)
    });
    accept("this registry has no search index", |exchange, difference| {
        let query = exchange.target.split(['=', '&']).nth(1).unwrap_or_default().replace("%25", "%");
        exchange.target.starts_with("/v1/search")
            && match difference.aspect.as_str() {
                "body" => {
                    let nothing = format!(r#"{{"num_results": 0, "query": "{query}", "results": []}}"#);
                    difference.ours.as_ref() == Some(&nothing)
                }
                "content-length" => true,
                _ => false,
            }
    });
    accept("the last bytes of a layer can be asked for", |exchange, difference| {
        exchange.request_header("Range") == Some("bytes=-500")
            && exchange.status == 200
            && range_is(difference, "bytes 4500-4999/5000", 500)
    });
    accept("416 says how large the layer is", |exchange, difference| {
        exchange.status == 416 && difference.is("content-range", None, Some("bytes */5000"))
    });

    // Defects of the original (BUG in the description of the protocol).
    accept("BUG: Content-Range without its unit", |exchange, difference| {
        matches!(exchange.request_header("Range"), Some("bytes=0-99" | "bytes=0-4999"))
            && difference.aspect == "content-range"
            && difference.recorded.as_ref().map(|range| format!("bytes {range}")) == difference.ours
    });
    accept("BUG: an open range is one byte too long", |exchange, difference| {
        match exchange.request_header("Range") {
            Some("bytes=100-") => range_is(difference, "bytes 100-4999/5000", 4900),
            Some("bytes=0-") => range_is(difference, "bytes 0-4999/5000", 5000),
            _ => false,
        }
    });
    accept("BUG: a range is not cut off at the end of the layer", |exchange, difference| {
        matches!(exchange.request_header("Range"), Some("bytes=4990-5000" | "bytes=4990-9999"))
            && range_is(difference, "bytes 4990-4999/5000", 10)
    });
    accept("BUG: a range behind the end of the layer is answered with nothing", |exchange, difference| {
        exchange.request_header("Range") == Some("bytes=6000-7000")
            && exchange.status == 206
            && (difference.is("status", Some("206"), Some("416"))
                || difference.is("content-range", Some("6000-7000/5000"), Some("bytes */5000"))
                || difference.is("content-length", Some("1001"), Some("0")))
    });
    accept("BUG: a single byte cannot be had", |exchange, difference| {
        match exchange.request_header("Range") {
            Some("bytes=0-0") => range_is(difference, "bytes 0-0/5000", 1),
            Some("bytes=5-5") => range_is(difference, "bytes 5-5/5000", 1),
            _ => false,
        }
    });
    accept("BUG: an empty layer cannot be had", |exchange, difference| {
        exchange.target == "/v1/images/dddddddddddddddd/layer"
            && difference.is("status", Some("416"), Some("200"))
    });
    accept("BUG: an image that is not there was not modified", |exchange, difference| {
        exchange.target == format!("/v1/images/{C}/json")
            && exchange.status == 304
            && (difference.is("status", Some("304"), Some("404"))
                || difference.is("body", Some(""), Some("{\"error\": \"Image not found\"}"))
                || difference.in_any(&FRAMEWORK[1..]))
    });
    accept("BUG: a list element without id is a 500", |exchange, difference| {
        exchange.request_body == b"[{\"noid\":1}]" && is_client_error(difference, "Invalid data")
    });
    accept("BUG: properties without access are a 500", |exchange, difference| {
        exchange.request_body == b"{\"x\":1}" && is_client_error(difference, "Invalid data")
    });
    accept("BUG: a checksum before the layer is a 500", |exchange, difference| {
        exchange.target == format!("/v1/images/{B}/checksum")
            && exchange.status == 500
            && is_client_error(difference, "Image's layer was not uploaded")
    });
    accept("BUG: whiteouts in folders are not recognised", |exchange, difference| {
        let fixed = difference
            .recorded
            .as_ref()
            .map(|list| list.replace(r#""/sub/.wh.deep", "f", false"#, r#""/sub/deep", "f", true"#));
        exchange.target.ends_with("/files")
            && match difference.aspect.as_str() {
                "body" => difference.ours == fixed,
                "content-length" => difference.is("content-length", Some("300"), Some("295")),
                _ => false,
            }
    });
    accept("BUG: a tag with a space is listed by another name and cannot be read", |exchange, difference| {
        let image = format!(r#""a b": "{A}""#);
        let fixed = difference.recorded.as_ref().map(|list| list.replace(r#""a+b": null"#, &image));
        exchange.target == "/v1/repositories/foo/bar/tags"
            && matches!(exchange.method.as_str(), "GET" | "HEAD")
            && exchange.status == 200
            && match difference.aspect.as_str() {
                "body" => difference.ours == fixed,
                // Sixty-two bytes: an id in quotation marks for `null`.
                "content-length" => {
                    let length = |text: &Option<String>| text.as_deref()?.parse::<u64>().ok();
                    length(&difference.recorded).map(|recorded| recorded + 62) == length(&difference.ours)
                }
                _ => false,
            }
    });
    accept("BUG: a repository with an unreadable tag cannot be deleted", |exchange, difference| {
        exchange.method == "DELETE"
            && exchange.target == "/v1/repositories/foo/bar/"
            && (difference.is("status", Some("404"), Some("200"))
                || difference.is("body", Some("{\"error\": \"Repository not found\"}"), Some("true"))
                || difference.is("content-length", Some("33"), Some("4")))
    });
    accept("… and is still there afterwards", |exchange, difference| {
        let gone = r#"{"error": "Repository not found"}"#;
        exchange.target == "/v1/repositories/foo/bar/tags"
            && exchange.body_length == 167
            && (difference.is("status", Some("200"), Some("404"))
                || difference.aspect == "body" && difference.ours.as_deref() == Some(gone)
                || difference.is("content-length", Some("167"), Some("33")))
    });
    accept("BUG: real daemons before 0.10 are not recognised", |exchange, difference| {
        let text = r#"{"error": "This endpoint does not support Docker daemons older than 0.10"}"#;
        exchange.target == format!("/v1/images/{A}/layer")
            && exchange.method == "PUT"
            && (difference.is("status", Some("409"), Some("412"))
                || difference.is("body", Some(r#"{"error": "Image already exists"}"#), Some(text))
                || difference.is("content-length", Some("33"), Some("74")))
    });
    entries
}

/// What is different where a whole server answers, and not only the API.
pub(super) fn accepted_of_a_server() -> Vec<Accepted> {
    let v2: fn(&Exchange, &Difference) -> bool = |exchange, difference| {
        exchange.target == "/v2/"
            && (difference.is("status", Some("404"), Some("200"))
                || difference.is("docker-distribution-api-version", None, Some("registry/2.0"))
                || difference.aspect == "body" && difference.ours.as_deref() == Some("{}")
                || difference.in_any(&FRAMEWORK[1..]))
    };
    let no_content: fn(&Exchange, &Difference) -> bool =
        |exchange, difference| exchange.status == 204 && difference.is("content-length", Some("0"), None);
    vec![
        Accepted { name: "it speaks V2 as well", covers: v2, uses: 0 },
        // RFC 9110, 8.6.
        Accepted { name: "no Content-Length where there is no content", covers: no_content, uses: 0 },
    ]
}

/// Whether a difference is part of a right answer to a range.
fn range_is(difference: &Difference, range: &str, length: usize) -> bool {
    let ours = difference.ours.as_deref();
    match difference.aspect.as_str() {
        "status" => ours == Some("206"),
        "content-range" => ours == Some(range),
        "content-length" => ours == Some(&length.to_string()),
        "body" => ours.is_some_and(|body| !body.is_empty()),
        _ => false,
    }
}

/// Whether a difference is part of turning a 500 in HTML into a 400 with this text.
fn is_client_error(difference: &Difference, text: &str) -> bool {
    match difference.aspect.as_str() {
        "status" => difference.is("status", Some("500"), Some("400")),
        "body" => difference.ours.as_ref() == Some(&format!("{{\"error\": \"{text}\"}}")),
        aspect => FRAMEWORK.contains(&aspect),
    }
}
