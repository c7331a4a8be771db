//! tautline-handshake
