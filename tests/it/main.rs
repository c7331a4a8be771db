//! End-to-end tests of Tautline: real sockets, real TLS, scripted peers.
