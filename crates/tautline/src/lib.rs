//! Tautline.
#![forbid(unsafe_code)]

mod connection;
mod error;
mod pool;
mod shutdown;
mod split;
mod sync;
mod timer;
mod transport;
mod wakers;
mod websocket;

pub use error::Error;
pub use split::{Reader, Writer};
pub use tautline_frame::{
    CloseCode, CloseFrame, Config, InvalidCloseFrame, Message, ProtocolError, Role, Text, Timeout,
};
pub use transport::Transport;
pub use websocket::WebSocket;
