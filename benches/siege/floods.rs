//! Connections that send as fast as they can, and read what comes back.

use std::io;
use std::sync::Arc;

use tautline_wire::encode;
use tokio::io::AsyncWriteExt;

use crate::attack::Target;
use crate::compressed::compressed;
use crate::support::Result;

/// What is written at once, at least.
const BLOCK: usize = 32 << 10;

/// Frames that are sent round and round.
#[derive(Debug)]
pub(crate) struct Flood {
    /// Once, before.
    start: Vec<u8>,
    block: Vec<u8>,
}

impl Flood {
    pub(crate) fn new(kind: &str) -> Result<Self> {
        let (start, frame) = match kind {
            "messages" => (Vec::new(), encode(true, 0x82, &[7; 16])),
            "pings" => (Vec::new(), encode(true, 0x89, b"ping")),
            "fragments" => (encode(true, 0x02, &[]), encode(true, 0x00, &[])),
            "compressed" => (Vec::new(), compressed(b"x")?),
            _ => return Err(format!("no such case: {kind}").into()),
        };
        Ok(Self { start, block: frame.repeat(BLOCK.div_ceil(frame.len())) })
    }
}

/// One connection, until the server ends it.
pub(crate) async fn life(target: Target, number: usize, flood: Arc<Flood>) -> io::Result<()> {
    let stream = target.open(number, "/").await?;
    let (mut reader, mut writer) = stream.into_split();
    let writing = async {
        writer.write_all(&flood.start).await?;
        loop {
            writer.write_all(&flood.block).await?;
        }
    };
    let reading = target.until_end(&mut reader);
    // Its Close may be behind what cannot be written any more.
    let (_, ()) = tokio::join!(
        async {
            let _: io::Result<()> = writing.await;
        },
        reading
    );
    Ok(())
}
