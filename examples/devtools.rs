//! Asks a browser what an expression is, over Chrome's DevTools protocol: `cargo run --example
//! devtools -- URL EXPRESSION`
//!
//! Start the browser with `chromium --headless --remote-debugging-port=0`; it prints the URL. The
//! protocol is JSON-RPC without a version: commands with ids, and events without.

use std::error::Error;

use serde_json::{Value, json};
use tautline::calls::{self, Caller, JsonRpc};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(url), Some(expression)) = (words.next(), words.next()) else {
        return Err("usage: devtools URL EXPRESSION".into());
    };
    let browser = open(&url).await?;
    let version: Value = browser.request("Browser.getVersion", &json!({})).await?;
    println!("browser: {}", version["product"]);

    // Each page has a connection of its own.
    let created: Value =
        browser.request("Target.createTarget", &json!({ "url": "about:blank" })).await?;
    let target = created["targetId"].as_str().ok_or("no target")?.to_owned();
    let page = url.split("/devtools/").next().ok_or("no URL of DevTools")?;
    let page = open(&format!("{page}/devtools/page/{target}")).await?;
    // Its console, and the value: both at once.
    let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
    let nothing = json!({});
    let (enabled, answer) = tokio::join!(
        page.request::<Value>("Runtime.enable", &nothing),
        page.request::<Value>("Runtime.evaluate", &asked),
    );
    enabled?;
    let answer = answer?;
    match answer.get("exceptionDetails") {
        None => println!("value: {}", answer["result"]["value"]),
        Some(thrown) => println!("thrown: {}", thrown["exception"]["description"]),
    }
    // A method that does not exist is an error of the browser's, and the connection stays.
    let missing = page.request::<Value>("Runtime.nothing", &json!({})).await;
    println!(
        "missing: {}",
        missing.err().and_then(|e| e.source().map(ToString::to_string)).unwrap_or_default()
    );
    let _: Value = browser.request("Target.closeTarget", &json!({ "targetId": target })).await?;
    Ok(())
}

/// A connection for calls, which prints the events that arrive.
async fn open(url: &str) -> Result<Caller<JsonRpc>, Box<dyn Error>> {
    let ws = tautline::connect(url).await?;
    let (caller, mut reader) = calls::split(ws, JsonRpc::without_version());
    tokio::spawn(async move {
        let format = JsonRpc::without_version();
        while let Some(Ok(message)) = reader.next().await {
            if let Some(event) = format.parse(&message) {
                println!("event: {}", event.method());
            }
        }
    });
    Ok(caller)
}
