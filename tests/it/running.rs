//! A server that is watched: its metrics, their names in the files for operators, and its spans.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tautline::http::StatusCode;
use tautline::metrics::ALL;
use tautline::{CloseCode, Config, Http2Config, Limits, Rate, connect, text_response};

use crate::support::handshake::{Http, bind, echo, echo_server, expect_echo, uri};
use crate::support::log::Log;

/// The recorder of this process. Only one test uses it, and another server counts with none.
fn recorder() -> PrometheusHandle {
    PrometheusBuilder::new().install_recorder().expect("nobody else installs one")
}

/// The value of the metric whose line begins like this.
fn value(text: &str, start: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(start));
    line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it never holds");
}

#[tokio::test]
async fn metrics_count_what_has_passed() {
    let prometheus = recorder();
    let (server, address) = bind().await;
    tokio::spawn(server.metrics().serve(echo));
    let mut ws = connect(uri(address)).await.unwrap();
    for _ in 0..5 {
        expect_echo(&mut ws, "hello").await;
    }
    let open = || value(&prometheus.render(), "tautline_server_connections ");
    until(|| open() == 1.0).await;
    ws.close_with(CloseCode::new(4001).unwrap()).await.unwrap();
    until(|| open() == 0.0).await;
    let mut other = Http::connect(address).await;
    other.write("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").await;
    assert_eq!(other.last_response().await.0.status(), 426);
    drop(other);
    let invalid = r#"tautline_server_handshakes{outcome="invalid"} "#;
    until(|| value(&prometheus.render(), invalid) == 1.0).await;

    let text = prometheus.render();
    for (start, expected) in [
        (r#"tautline_server_handshakes{outcome="opened"} "#, 1.0),
        (r#"tautline_server_handshake_duration_count{outcome="opened"} "#, 1.0),
        (r#"tautline_server_messages{network_io_direction="receive"} "#, 5.0),
        (r#"tautline_server_messages{network_io_direction="transmit"} "#, 5.0),
        // Five frames of 7 bytes, and a Close of 4.
        (r#"tautline_server_io{network_io_direction="transmit"} "#, 39.0),
        // The same with masks.
        (r#"tautline_server_io{network_io_direction="receive"} "#, 63.0),
        (r#"tautline_server_closes{code="4001",by="client"} "#, 1.0),
        ("tautline_server_queued ", 0.0),
    ] {
        assert_eq!(value(&text, start), expected, "{start}\n{text}");
    }
    limits_that_strike_are_counted_by_reason(&prometheus).await;
}

/// Part of the test above, since a process has one recorder.
async fn limits_that_strike_are_counted_by_reason(prometheus: &PrometheusHandle) {
    let struck = |reason: &str| {
        let start = format!("tautline_server_limits{{reason=\"{reason}\"}} ");
        value(&prometheus.render(), &start)
    };
    // One that is never struck is known all the same.
    assert!(prometheus.render().contains(r#"tautline_server_limits{reason="handshakes"} 0"#));

    let (server, address) = bind().await;
    let config = Config::new()
        .message_rate(Rate::per_second(1000).burst(10))
        .control_rate(Rate::per_second(1).burst(1));
    let limits = Limits::none().exempt([]).connections_per_address(2);
    let server = server.config(config).limits(limits).metrics();
    let handle = server.handle();
    tokio::spawn(server.serve(echo));
    let mut one = connect(uri(address)).await.unwrap();
    let mut other = connect(uri(address)).await.unwrap();
    connect(uri(address)).await.unwrap_err();
    assert_eq!(struck("connections_per_address"), 1.0);
    assert_eq!(handle.counts().connections_per_address, 1);

    for _ in 0..200 {
        one.feed("hello").await.unwrap();
    }
    for _ in 0..200 {
        one.next().await.unwrap().unwrap();
    }
    one.close().await.unwrap();
    until(|| struck("message_rate") >= 1.0).await;
    while other.ping().await.is_ok() {}
    until(|| struck("control_rate") == 1.0).await;
    for reason in ["byte_rate", "memory_budget", "connection_rate", "handshakes_per_address"] {
        assert_eq!(struck(reason), 0.0, "{reason}");
    }
}

/// What looks like the name of a metric.
fn names(text: &str, first: &str, separator: char) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == separator;
    let found = text.split(|c| !is_part(c)).filter(|word| word.starts_with(first));
    found.map(str::to_owned).collect()
}

#[test]
fn the_files_for_operators_name_the_metrics_that_there_are() {
    let page = names(include_str!("../../docs/operations/metrics.md"), "tautline.server", '.');
    let all: BTreeSet<_> = ALL.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(page, all, "docs/operations/metrics.md");

    let exported: BTreeSet<_> = ALL.iter().map(|metric| metric.name.replace('.', "_")).collect();
    for (file, text) in [
        ("alerts.yml", include_str!("../../docs/operations/alerts.yml")),
        ("grafana.json", include_str!("../../docs/operations/grafana.json")),
    ] {
        let used = names(text, "tautline_server", '_');
        assert!(used.len() > 3, "{file}");
        for name in used {
            let base = name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count"));
            assert!(exported.contains(base.unwrap_or(&name)), "{file}: {name}");
        }
    }
}

#[tokio::test]
async fn spans_tell_of_the_request_without_query_and_credentials() {
    let log = Log::default();
    let _collecting = log.start();
    let address = echo_server(|server| {
        server
            .http2(Http2Config::new())
            .fallback(|_, _| async { text_response(StatusCode::OK, "a page\n") })
    })
    .await;
    let mut client = Http::connect(address).await;
    let request = "GET /chat?token=secret HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\nUser-Agent: test/1\r\nAuthorization: Bearer secret\r\n\r\n";
    client.write(request).await;
    assert_eq!(client.head().await.status(), 101);
    let told = || log.text().lines().any(|line| line.contains("connection opened"));
    until(told).await;
    let text = log.text();
    let line = text.lines().find(|line| line.contains("connection opened")).unwrap();
    for field in [
        "client.address=127.0.0.1",
        "network.protocol.version=\"1.1\"",
        "url.path=\"/chat\"",
        "http.request.method=\"GET\"",
        "http.response.status_code=101",
        "user_agent.original=\"test/1\"",
    ] {
        assert!(line.contains(field), "{field}: {line}");
    }
    assert!(!text.contains("secret"), "{text}");
}
