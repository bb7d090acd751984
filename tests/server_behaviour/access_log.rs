//! The line that each request leaves in the log.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use docker_registry::http::exchange::{Request, whole};
use http::StatusCode;
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt};

use crate::server::{Answer, patient, start};

/// Log output that can be looked at.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn access(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains("access")).map(str::to_owned).collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Makes one request and returns what stands in the access log afterwards. `json` chooses the format.
async fn logged(request: &str, json: bool) -> Vec<String> {
    let lines = Lines::default();
    let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone()).with_ansi(false);
    // The runtime of a test has one thread, so this is where the server's tasks run too.
    let _logging = if json {
        let layer = layer.json().flatten_event(true);
        tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
    } else {
        tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
    };
    let server =
        start(patient(), Answer(|_: Request| async { whole(StatusCode::CREATED, "text/plain", "12345") }))
            .await;
    let mut client = server.connect().await;
    client.send(request).await;
    assert_eq!(client.answer("GET").await.status, 201);
    lines.access()
}

#[tokio::test]
async fn a_request_is_one_line_with_its_facts() {
    let request = "GET /v2/a/tags/list?token=secret HTTP/1.1\r\nhost: test\r\nx-request-id: id-7\r\n\
                   user-agent: docker/20\r\nauthorization: Basic c2VjcmV0\r\n\r\n";
    let lines = logged(request, true).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    for (name, value) in [
        ("target", "access"),
        ("id", "id-7"),
        ("method", "GET"),
        ("path", "/v2/a/tags/list"),
        ("user_agent", "docker/20"),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    assert_eq!((&line["status"], &line["bytes"], &line["complete"]), (&201.into(), &5.into(), &true.into()));
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(line["milliseconds"].as_f64().unwrap() >= 0.0);
    assert!(!lines[0].contains("secret") && !lines[0].contains("c2VjcmV0"), "{lines:?}");
}

#[tokio::test]
async fn nobody_can_forge_a_line_or_a_field() {
    // What a header and a path may hold that a terminal or a log reader would act on.
    let request = b"GET /\x7f\"status=200 HTTP/1.1\r\nhost: test\r\nuser-agent: \"x\" status=200\tpeer=\xe2\x80\xa8\xff\r\n\r\n";
    let request = String::from_utf8_lossy(request).replace('\u{7f}', "%0A");
    for json in [false, true] {
        let lines = logged(&request, json).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(!lines[0].contains('\t') && !lines[0].chars().any(|c| c.is_control()), "{lines:?}");
        assert!(lines[0].contains("\\\"x\\\" status=200"), "quotes are escaped: {lines:?}");
        assert_eq!(lines[0].matches("status=201").count() + lines[0].matches("\"status\":201").count(), 1);
    }
}
