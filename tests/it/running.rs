//! A server that is watched: its metrics, their names in the files for operators, and its spans.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tautline::http::StatusCode;
use tautline::metrics::ALL;
use tautline::{CloseCode, Config, Http2Config, Limits, Rate, connect, text_response};
use tokio::time::timeout;

use crate::support::handshake::{Http, bind, echo, echo_server, expect_echo, uri};
use crate::support::log::Log;
use crate::support::wait::until;

/// Until when what should happen at once must have happened.
const SOON: Duration = Duration::from_secs(20);

/// The recorder of this process. Only one test uses it, and another server counts with none.
fn recorder() -> PrometheusHandle {
    PrometheusBuilder::new().install_recorder().expect("nobody else installs one")
}

/// The value of the metric whose line begins like this.
fn value(text: &str, start: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(start));
    line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
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
    until(|| (open() == 1.0).then_some(())).await;
    ws.close_with(CloseCode::new(4001).unwrap()).await.unwrap();
    until(|| (open() == 0.0).then_some(())).await;
    let mut other = Http::connect(address).await;
    other.write("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").await;
    assert_eq!(other.last_response().await.0.status(), 426);
    drop(other);
    let invalid = r#"tautline_server_handshakes{outcome="invalid"} "#;
    until(|| (value(&prometheus.render(), invalid) == 1.0).then_some(())).await;

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
    let durations = r#"tautline_server_handshake_duration_sum{outcome="opened"} "#;
    assert!(value(&text, durations) > 0.0, "{text}");
    count_while_open(&prometheus).await;
    count_slow_readers(&prometheus).await;
    count_ends(&prometheus).await;
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
    until(|| (struck("message_rate") >= 1.0).then_some(())).await;
    while other.ping().await.is_ok() {}
    until(|| (struck("control_rate") == 1.0).then_some(())).await;
    for reason in ["byte_rate", "memory_budget", "connection_rate", "handshakes_per_address"] {
        assert_eq!(struck(reason), 0.0, "{reason}");
    }
}

/// What is added once a second while a connection is open is not added again at its end.
async fn count_while_open(prometheus: &PrometheusHandle) {
    let received = r#"tautline_server_messages{network_io_direction="receive"} "#;
    let before = value(&prometheus.render(), received);
    let (server, address) = bind().await;
    tokio::spawn(server.metrics().serve(echo));
    let mut ws = connect(uri(address)).await.unwrap();
    let mut sent = 0;
    let using = async {
        while value(&prometheus.render(), received) == before {
            expect_echo(&mut ws, "hello").await;
            sent += 1;
        }
    };
    timeout(SOON, using).await.expect("it is counted while it is open");
    ws.close().await.unwrap();
    until(|| (value(&prometheus.render(), "tautline_server_connections ") == 0.0).then_some(()))
        .await;
    assert_eq!(value(&prometheus.render(), received) - before, f64::from(sent));
}

/// What waits for a slow reader is counted until it has gone, and so is that there is no room for
/// another connection.
async fn count_slow_readers(prometheus: &PrometheusHandle) {
    let (server, address) = bind().await;
    let server = server.max_connections(1).metrics();
    tokio::spawn(server.serve(|mut ws| async move {
        loop {
            ws.send(vec![7; 100_000]).await?;
        }
        #[expect(unreachable_code, reason = "the type of the handler")]
        Ok(())
    }));
    let slow = connect(uri(address)).await.unwrap();
    let queued = || value(&prometheus.render(), "tautline_server_queued ");
    until(|| (queued() > 0.0).then_some(())).await;
    until(|| (value(&prometheus.render(), "tautline_server_full ") > 0.0).then_some(())).await;
    drop(slow);
    until(|| (queued() == 0.0).then_some(())).await;
}

/// Whoever closes first is told, with the code; 1006 is an end without a Close.
async fn count_ends(prometheus: &PrometheusHandle) {
    let (server, address) = bind().await;
    tokio::spawn(server.metrics().serve(|mut ws| async move {
        match ws.next().await {
            Some(Ok(_)) => Ok(ws.close_with(CloseCode::new(4002).unwrap()).await?),
            _ => Ok(()),
        }
    }));
    let mut ws = connect(uri(address)).await.unwrap();
    ws.send("close").await.unwrap();
    assert!(ws.next().await.is_none());
    let mut lost = Http::connect(address).await;
    lost.upgrade().await;
    drop(lost);
    for label in [r#"{code="4002",by="server"} "#, r#"{code="1006",by="none"} "#] {
        let start = format!("tautline_server_closes{label}");
        until(|| (value(&prometheus.render(), &start) >= 1.0).then_some(())).await;
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
    until(|| told().then_some(())).await;
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
