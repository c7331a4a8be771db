//! The server: it sends back every message, or only short ones.

use std::io::Read;

use tautline::{Compression, OriginPolicy, Server};

use crate::support::Result;

/// What `sink` does not send back.
const LONG: usize = 1024;

/// `COMPRESSION echo|sink`
pub(crate) fn serve(words: &[String]) -> Result {
    let [compression, task] = words else { return Err("two words".into()) };
    let settings = match compression.as_str() {
        "none" => None,
        "default" => Some(Compression::new()),
        "takeover" => Some(Compression::new().own_context_takeover(true)),
        "best-ratio" => Some(Compression::best_ratio()),
        _ => return Err("no such settings".into()),
    };
    let longest = if task == "sink" { LONG } else { usize::MAX };
    end_with_parent();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut server = Server::bind("127.0.0.1:0").await?.origins(OriginPolicy::Any);
        if let Some(settings) = settings {
            server = server.compression(settings);
        }
        println!("{}", server.local_addr()?);
        let serving = server.serve(move |mut ws| async move {
            while let Some(message) = ws.next().await {
                let message = message?;
                if message.as_bytes().len() < longest {
                    ws.feed(message).await?;
                }
            }
            Ok(())
        });
        Ok(serving.await?)
    })
}

/// Ends this process when the one that started it is gone.
fn end_with_parent() {
    std::thread::spawn(|| {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(count) if count > 0) {}
        std::process::exit(0);
    });
}
