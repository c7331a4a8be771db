//! What the opening handshake agrees on about compression, seen from one end (RFC 7692 section 7.1).

use tautline_frame::{Compression, Role};
use tautline_handshake::{DeflateConfig, DeflateParams};

/// What to offer or accept. The handshake speaks of client and server, the settings of this end and its peer.
pub(crate) const fn negotiation(settings: &Compression, role: Role) -> DeflateConfig {
    let own = (!settings.own_context_takeover_enabled(), settings.max_own_window_bits());
    let peer = (!settings.peer_context_takeover_enabled(), settings.max_peer_window_bits());
    let (server, client) = match role {
        Role::Server => (own, peer),
        Role::Client => (peer, own),
    };
    DeflateConfig::new()
        .server_no_context_takeover(server.0)
        .server_max_window_bits(server.1)
        .client_no_context_takeover(client.0)
        .client_max_window_bits(client.1)
}

/// The settings, narrowed to what was agreed on.
pub(crate) fn agreed(settings: Compression, role: Role, params: &DeflateParams) -> Compression {
    let server = (!params.server_no_context_takeover(), params.server_max_window_bits());
    let client = (!params.client_no_context_takeover(), params.client_max_window_bits());
    let (own, peer) = match role {
        Role::Server => (server, client),
        Role::Client => (client, server),
    };
    settings
        .own_context_takeover(own.0)
        .own_window_bits(own.1)
        .peer_context_takeover(peer.0)
        .peer_window_bits(peer.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_agree_on_who_keeps_what() {
        let presets = [Compression::new(), Compression::low_memory(), Compression::best_ratio()];
        for wished_by_client in presets.map(|preset| preset.own_window_bits(10)) {
            for wished_by_server in presets.map(|preset| preset.peer_window_bits(12)) {
                let offer = negotiation(&wished_by_client, Role::Client);
                let accepted = negotiation(&wished_by_server, Role::Server)
                    .accept(&[offer.offer()])
                    .expect("both can do what the other wants");
                let granted = offer.check_answer(&accepted.to_extension()).expect("as offered");
                let server = agreed(wished_by_server, Role::Server, &accepted);
                let client = agreed(wished_by_client, Role::Client, &granted);
                let seen = |of: &Compression| {
                    [
                        (of.own_context_takeover_enabled(), of.max_own_window_bits()),
                        (of.peer_context_takeover_enabled(), of.max_peer_window_bits()),
                    ]
                };
                let [own, peer] = seen(&client);
                assert_eq!(seen(&server), [peer, own], "mirrored");
                assert_eq!(own.1, 10);
                assert!(!own.0 || wished_by_client.own_context_takeover_enabled());
                assert!(!peer.0 || wished_by_client.peer_context_takeover_enabled());
            }
        }
    }
}
