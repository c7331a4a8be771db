//! What an attacker can make a server hold: resident memory of the process, which is why these tests have one of their own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod bomb;
