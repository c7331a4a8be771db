use super::*;
use crate::extension::{ExtensionError, parse_extensions};
use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::{HeaderMap, HeaderValue};

fn header(line: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(line).unwrap());
    headers
}

/// A server's answer to the offers in this line.
fn accept(compression: Compression, line: &str) -> Option<String> {
    let headers = header(line);
    let (answer, _) = super::accept(&compression, &parse_extensions(&headers).unwrap())?;
    Some(answer.to_string())
}

/// What a client makes of this answer.
fn check_answer(compression: Compression, line: &str) -> Result<Compression, DeflateError> {
    super::check_answer(&compression, &parse_extensions(&header(line)).unwrap()[0])
}

/// Whether an end compresses, with which context and window, and what it expects of its peer.
fn seen(of: &Compression) -> (bool, [(bool, u8); 2]) {
    let own = (of.get_own_context_takeover(), of.get_own_window_bits());
    let peer = (of.get_peer_context_takeover(), of.get_peer_window_bits());
    (of.get_own_compression(), [own, peer])
}

/// Asks for nothing: both windows of 15 bits, both contexts kept.
const PLAIN: Compression = Compression::new().own_context_takeover(true);

#[test]
fn a_server_accepts_the_first_good_offer_rfc7692_5_and_7_1() {
    for (offers, answer) in [
        ("permessage-deflate", Some("permessage-deflate")),
        ("permessage-deflate; client_max_window_bits", Some("permessage-deflate")),
        ("x-webkit-deflate-frame, permessage-deflate", Some("permessage-deflate")),
        // Section 7.1.1.1: granted means echoed. Section 7.1.1.2: a hint that we take up.
        (
            "permessage-deflate; server_no_context_takeover",
            Some("permessage-deflate; server_no_context_takeover"),
        ),
        (
            "permessage-deflate; client_no_context_takeover",
            Some("permessage-deflate; client_no_context_takeover"),
        ),
        // Section 7.1.2.1: answered even when it says what is the default anyway.
        (
            "permessage-deflate; server_max_window_bits=15",
            Some("permessage-deflate; server_max_window_bits=15"),
        ),
        (
            "permessage-deflate; server_max_window_bits=\"10\"",
            Some("permessage-deflate; server_max_window_bits=10"),
        ),
        // A window of 8 bits is fine for the peer's compressor. Ours cannot do it, so another offer
        // is better; without one, what we send is not compressed.
        (
            "permessage-deflate; client_max_window_bits=8",
            Some("permessage-deflate; client_max_window_bits=8"),
        ),
        (
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
            Some("permessage-deflate"),
        ),
        (
            "permessage-deflate; server_max_window_bits=8",
            Some("permessage-deflate; server_max_window_bits=8"),
        ),
        // Declined, then the next one is tried.
        ("permessage-deflate; unknown, permessage-deflate", Some("permessage-deflate")),
        ("permessage-deflate; __proto__", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; client_no_context_takeover=true", None),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
        ("permessage-deflate; client_no_context_takeover; client_no_context_takeover", None),
        ("permessage-deflate; server_max_window_bits=9; server_max_window_bits=9", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        ("permessage-deflate-2", None),
        ("PERMESSAGE-DEFLATE", None),
    ] {
        assert_eq!(accept(PLAIN, offers).as_deref(), answer, "{offers}");
    }
}

/// undici CVE-2026-2229: `server_max_window_bits=1000` reached the inflater and crashed the
/// process.
#[test]
fn window_bits_are_8_to_15_without_leading_zero_rfc7692_7_1_2() {
    for bits in 8..=15u8 {
        assert_eq!(window_bits(&bits.to_string()), Ok(bits));
    }
    for value in
        ["", "0", "7", "16", "19", "20", "80", "1000", "08", "015", "+9", "-9", "9x", "9.0"]
    {
        assert_eq!(window_bits(value), Err(DeflateError::Value), "{value:?}");
    }
    for value in ["0", "7", "16", "1000", "08", "+9", "9x", "\"16\"", "\"08\""] {
        for name in ["server_max_window_bits", "client_max_window_bits"] {
            let line = format!("permessage-deflate; {name}={value}");
            assert_eq!(accept(PLAIN, &line), None, "{line}");
            let answer = check_answer(PLAIN, &line);
            assert_eq!(answer, Err(DeflateError::Value), "{line}");
        }
    }
}

// RFC 7692 section 5.2: a quoted value is equivalent to a bare one, even with backslashes (RFC 6455
// section 9.1).
#[test]
fn a_quoted_value_is_what_stands_inside_the_quotes_rfc7692_7_1_2() {
    for bits in 9..=15u8 {
        let first = bits.to_string().remove(0);
        let rest = &bits.to_string()[1..];
        for value in [format!("\"{bits}\""), format!("\"\\{first}{rest}\"")] {
            let line = format!("permessage-deflate; server_max_window_bits={value}");
            let answer = format!("permessage-deflate; server_max_window_bits={bits}");
            assert_eq!(accept(PLAIN, &line), Some(answer), "{line}");
            let line = format!("{line}; client_max_window_bits={value}");
            let agreed = check_answer(PLAIN, &line).unwrap();
            assert_eq!(seen(&agreed), (true, [(true, bits); 2]), "{line}");
        }
    }
    for value in ["\"7\"", "\"1000\"", "\"+9\"", "\"9x\"", "\"1\\6\""] {
        let line = format!("permessage-deflate; client_max_window_bits={value}");
        assert_eq!(accept(PLAIN, &line), None, "{line}");
        let answer = check_answer(PLAIN, &line);
        assert_eq!(answer, Err(DeflateError::Value), "{line}");
    }
}

// RFC 6455 section 9.1: a value is a token, and a token has at least one character. That is not an
// offer to be declined but a malformed header: 400 from a server, the end of the connection for a
// client.
#[test]
fn an_empty_value_breaks_the_grammar_rfc6455_9_1() {
    for value in ["", "\"\"", "\" \"", "\"9 \""] {
        for name in [SERVER_MAX_WINDOW_BITS, CLIENT_MAX_WINDOW_BITS] {
            let line = format!("permessage-deflate; {name}={value}");
            let mut headers = HeaderMap::new();
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(&line).unwrap());
            assert_eq!(parse_extensions(&headers), Err(ExtensionError::Value), "{line}");
        }
    }
}

// RFC 7692 section 7.1: a repeated parameter is wrong even if both say the same, or one of them
// would be acceptable.
#[test]
fn every_parameter_stands_once_rfc7692_7_1() {
    for twice in [
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits=10; server_max_window_bits=12",
        "client_max_window_bits=10; client_max_window_bits=10",
        "client_max_window_bits=10; server_no_context_takeover; client_max_window_bits=\"11\"",
    ] {
        let line = format!("permessage-deflate; {twice}");
        assert_eq!(accept(PLAIN, &line), None, "{line}");
        let next = format!("{line}, permessage-deflate; server_max_window_bits=11");
        let answer = "permessage-deflate; server_max_window_bits=11";
        assert_eq!(accept(PLAIN, &next).as_deref(), Some(answer), "{next}");
        let answer = check_answer(PLAIN, &line);
        assert_eq!(answer, Err(DeflateError::RepeatedParameter), "{line}");
    }
    // Bare and with a value: the same parameter, in an offer.
    let bare = "permessage-deflate; client_max_window_bits; client_max_window_bits=10";
    assert_eq!(accept(PLAIN, bare), None);
}

// RFC 7692 section 5.1: in the client's order of preference, over all lines of the header (RFC 6455
// section 9.1).
#[test]
fn offers_are_tried_in_order_of_preference_rfc7692_5_1() {
    for (lines, answer) in [
        (
            &["permessage-deflate; server_max_window_bits=10", "permessage-deflate"][..],
            Some("permessage-deflate; server_max_window_bits=10"),
        ),
        (
            &["permessage-deflate", "permessage-deflate; server_max_window_bits=10"],
            Some("permessage-deflate"),
        ),
        (
            &[
                "x, permessage-deflate; server_max_window_bits=8, permessage-deflate; y=1",
                "permessage-deflate; client_no_context_takeover; client_max_window_bits=\"9\"",
                "permessage-deflate; server_no_context_takeover",
            ],
            Some("permessage-deflate; client_no_context_takeover; client_max_window_bits=9"),
        ),
        (&["permessage-deflate; server_max_window_bits=08", "x-webkit-deflate-frame"], None),
    ] {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(line));
        }
        let accepted = super::accept(&PLAIN, &parse_extensions(&headers).unwrap());
        let accepted = accepted.map(|(answer, _)| answer.to_string());
        assert_eq!(accepted.as_deref(), answer, "{lines:?}");
    }
}

#[test]
fn a_server_keeps_to_its_own_settings() {
    let compression = Compression::low_memory().own_window_bits(11).peer_window_bits(10);
    for (offer, answer) in [
        // Section 7.1.2.2: the client's window may be set only when the offer has the parameter.
        ("permessage-deflate", "server_max_window_bits=11"),
        (
            "permessage-deflate; client_max_window_bits",
            "server_max_window_bits=11; client_max_window_bits=10",
        ),
        (
            "permessage-deflate; client_max_window_bits=9; server_max_window_bits=9",
            "server_max_window_bits=9; client_max_window_bits=9",
        ),
        (
            "permessage-deflate; client_max_window_bits=15; server_max_window_bits=15",
            "server_max_window_bits=11; client_max_window_bits=10",
        ),
    ] {
        let prefix = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert_eq!(accept(compression, offer), Some(format!("{prefix}; {answer}")), "{offer}");
    }
}

// RFC 7692 section 7.1.2 allows 8, with which common compressors cannot compress: neither role asks
// for it.
#[test]
fn no_window_below_9_bits_is_asked_for() {
    for (bits, asked) in [(0, "9"), (8, "9"), (9, "9"), (14, "14")] {
        let compression = PLAIN.own_window_bits(bits).peer_window_bits(bits);
        let windows = format!("server_max_window_bits={asked}; client_max_window_bits={asked}");
        assert_eq!(offer(&compression).to_string(), format!("permessage-deflate; {windows}"));
        let answer = accept(compression, "permessage-deflate; client_max_window_bits");
        assert_eq!(answer, Some(format!("permessage-deflate; {windows}")));
    }
    for bits in [15, 16, 255] {
        let compression = PLAIN.own_window_bits(bits).peer_window_bits(bits);
        assert_eq!(offer(&compression).to_string(), "permessage-deflate; client_max_window_bits");
    }
}

#[test]
fn an_offer_says_what_is_wanted_rfc7692_7_1() {
    for (compression, expected) in [
        (PLAIN, "client_max_window_bits"),
        (Compression::new(), "client_no_context_takeover; client_max_window_bits"),
        (
            Compression::low_memory().peer_window_bits(12),
            "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12; \
             client_max_window_bits",
        ),
        (PLAIN.own_window_bits(10), "client_max_window_bits=10"),
    ] {
        assert_eq!(offer(&compression).to_string(), format!("permessage-deflate; {expected}"));
    }
}

// RFC 7692 section 7.1.2.1: a server that is limited to 8 bits compresses nothing, and inflates
// what the client compresses.
#[test]
fn a_server_that_is_held_to_8_bits_sends_uncompressed() {
    let headers = header("permessage-deflate; server_max_window_bits=8");
    let (_, agreed) = super::accept(&PLAIN, &parse_extensions(&headers).unwrap()).unwrap();
    assert_eq!(seen(&agreed), (false, [(true, 9), (true, 15)]));
}

#[test]
fn a_client_takes_what_its_offer_allows() {
    let demanding = PLAIN.peer_context_takeover(false).peer_window_bits(12);
    let limited = PLAIN.own_window_bits(10);
    for (compression, answer, compresses, (server, client)) in [
        (PLAIN, "permessage-deflate", true, (15, 15)),
        (PLAIN, "permessage-deflate; server_max_window_bits=8", true, (8, 15)),
        // Our offer allows any limit, but this one failed the connection.
        (PLAIN, "permessage-deflate; client_max_window_bits=8", false, (15, 9)),
        (limited, "permessage-deflate; client_max_window_bits=8", false, (15, 9)),
        (PLAIN, "permessage-deflate; client_max_window_bits=9", true, (15, 9)),
        (PLAIN, "permessage-deflate; client_max_window_bits=\"15\"", true, (15, 15)),
        (limited, "permessage-deflate", true, (15, 10)),
        (limited, "permessage-deflate; client_max_window_bits=12", true, (15, 10)),
        (
            demanding,
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=12",
            true,
            (12, 15),
        ),
    ] {
        let agreed = check_answer(compression, answer).unwrap();
        let peer = (compression.get_peer_context_takeover(), server);
        assert_eq!(seen(&agreed), (compresses, [(true, client), peer]), "{answer}");
    }
    // Section 7.1.1.2: what the server asks of the client's context, the client does.
    let answer = "permessage-deflate; client_no_context_takeover";
    let agreed = check_answer(PLAIN, answer).unwrap();
    assert_eq!(seen(&agreed), (true, [(false, 15), (true, 15)]));
}

#[test]
fn a_client_fails_on_any_other_answer_rfc7692_7_1() {
    let demanding = PLAIN.peer_context_takeover(false).peer_window_bits(12);
    for (compression, answer, error) in [
        (PLAIN, "permessage-deflate; unknown=1", DeflateError::UnknownParameter),
        (
            PLAIN,
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
            DeflateError::RepeatedParameter,
        ),
        (PLAIN, "permessage-deflate; client_max_window_bits", DeflateError::Value),
        (PLAIN, "permessage-deflate; server_max_window_bits", DeflateError::Value),
        (PLAIN, "permessage-deflate; client_no_context_takeover=0", DeflateError::Value),
        (demanding, "permessage-deflate; server_max_window_bits=12", DeflateError::NotGranted),
        (demanding, "permessage-deflate; server_no_context_takeover", DeflateError::NotGranted),
        (
            demanding,
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=13",
            DeflateError::NotGranted,
        ),
    ] {
        assert_eq!(check_answer(compression, answer), Err(error), "{answer}");
    }
}

/// Whatever both ends ask for, the client accepts the server's answer, and what one end sends is
/// what the other expects.
#[test]
fn both_ends_agree_on_who_keeps_what() {
    let settings = [
        Compression::new(),
        Compression::low_memory(),
        Compression::best_ratio(),
        PLAIN.own_window_bits(9),
        PLAIN.peer_window_bits(9).peer_context_takeover(false),
        Compression::new().own_window_bits(10).peer_window_bits(12),
    ];
    for client in settings {
        for server in settings {
            let (answer, at_server) = super::accept(&server, &[offer(&client)]).unwrap();
            let at_client = super::check_answer(&client, &answer).unwrap();
            let (_, [own, peer]) = seen(&at_client);
            assert_eq!(seen(&at_server), (true, [peer, own]), "{client:?} {server:?}");
            let (_, [ours, _]) = seen(&client);
            assert!(own.1 <= ours.1 && (!own.0 || ours.0), "{client:?} {server:?}");
            assert!(!peer.0 || client.get_peer_context_takeover(), "{client:?} {server:?}");
        }
    }
}
