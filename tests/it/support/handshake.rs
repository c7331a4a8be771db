//! Peers that speak raw HTTP.
