use super::*;
use crate::{ExtensionError, parse_extensions};
use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::{HeaderMap, HeaderValue};

fn parse(line: &str) -> Vec<Extension> {
    let mut headers = HeaderMap::new();
    headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(line).unwrap());
    parse_extensions(&headers).unwrap()
}

fn accept(config: DeflateConfig, line: &str) -> Option<String> {
    Some(config.accept(&parse(line))?.to_extension().to_string())
}

const PLAIN: DeflateConfig = DeflateConfig::new();

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
        // A window of 8 bits is fine for the peer's compressor, not for ours.
        (
            "permessage-deflate; client_max_window_bits=8",
            Some("permessage-deflate; client_max_window_bits=8"),
        ),
        (
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
            Some("permessage-deflate"),
        ),
        ("permessage-deflate; server_max_window_bits=8", None),
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

/// undici CVE-2026-2229: `server_max_window_bits=1000` reached the inflater and ended the process.
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
            let answer = PLAIN.check_answer(&parse(&line)[0]);
            assert_eq!(answer, Err(DeflateError::Value), "{line}");
        }
    }
}

// RFC 7692 section 5.2: a quoted value is as good as a bare one, with backslashes too (RFC 6455 section 9.1).
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
            let params = PLAIN.check_answer(&parse(&line)[0]).unwrap();
            assert_eq!(params.server_max_window_bits(), bits, "{line}");
            assert_eq!(params.client_max_window_bits(), bits, "{line}");
        }
    }
    for value in ["\"7\"", "\"1000\"", "\"+9\"", "\"9x\"", "\"1\\6\""] {
        let line = format!("permessage-deflate; client_max_window_bits={value}");
        assert_eq!(accept(PLAIN, &line), None, "{line}");
        let answer = PLAIN.check_answer(&parse(&line)[0]);
        assert_eq!(answer, Err(DeflateError::Value), "{line}");
    }
}

// RFC 6455 section 9.1: a value is a token, and a token has a character at least. That is not an offer to be declined but a
// header that cannot be read: 400 from a server, the end of the connection for a client.
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

// RFC 7692 section 7.1: a parameter that stands twice is wrong even where both say the same, or one of them would do.
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
        let answer = PLAIN.check_answer(&parse(&line)[0]);
        assert_eq!(answer, Err(DeflateError::RepeatedParameter), "{line}");
    }
    // Bare and with a value: the same parameter, in an offer.
    let bare = "permessage-deflate; client_max_window_bits; client_max_window_bits=10";
    assert_eq!(accept(PLAIN, bare), None);
}

// RFC 7692 section 5.1: in the client's order of preference, over all lines of the header (RFC 6455 section 9.1).
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
        let accepted = PLAIN.accept(&parse_extensions(&headers).unwrap());
        let accepted = accepted.map(|params| params.to_extension().to_string());
        assert_eq!(accepted.as_deref(), answer, "{lines:?}");
    }
}

#[test]
fn a_server_keeps_to_its_own_wishes() {
    let config = DeflateConfig::new()
        .server_no_context_takeover(true)
        .client_no_context_takeover(true)
        .server_max_window_bits(11)
        .client_max_window_bits(10);
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
        assert_eq!(accept(config, offer), Some(format!("{prefix}; {answer}")), "{offer}");
    }
}

#[test]
fn own_windows_are_brought_into_9_to_15() {
    for (bits, kept) in [(0, 9), (8, 9), (9, 9), (15, 15), (16, 15), (255, 15)] {
        let config = DeflateConfig::new().server_max_window_bits(bits);
        assert_eq!(config, DeflateConfig { server_max_window_bits: kept, ..PLAIN });
        let config = DeflateConfig::new().client_max_window_bits(bits);
        assert_eq!(config, DeflateConfig { client_max_window_bits: kept, ..PLAIN });
    }
}

#[test]
fn a_client_takes_what_its_offer_allows() {
    let config = DeflateConfig::new().server_no_context_takeover(true).server_max_window_bits(12);
    let limited = DeflateConfig::new().client_max_window_bits(10);
    for (config, answer, windows) in [
        (PLAIN, "permessage-deflate", (15, 15)),
        (PLAIN, "permessage-deflate; server_max_window_bits=8", (8, 15)),
        (PLAIN, "permessage-deflate; client_max_window_bits=9", (15, 9)),
        (PLAIN, "permessage-deflate; client_max_window_bits=\"15\"", (15, 15)),
        (limited, "permessage-deflate", (15, 10)),
        (limited, "permessage-deflate; client_max_window_bits=12", (15, 10)),
        (
            config,
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=12",
            (12, 15),
        ),
    ] {
        let params = config.check_answer(&parse(answer)[0]).unwrap();
        let found = (params.server_max_window_bits(), params.client_max_window_bits());
        assert_eq!(found, windows, "{answer}");
    }
}

#[test]
fn a_client_fails_on_any_other_answer_rfc7692_7_1() {
    let config = DeflateConfig::new().server_no_context_takeover(true).server_max_window_bits(12);
    for (config, answer, error) in [
        (PLAIN, "permessage-deflate; unknown=1", DeflateError::UnknownParameter),
        (
            PLAIN,
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
            DeflateError::RepeatedParameter,
        ),
        (PLAIN, "permessage-deflate; client_max_window_bits", DeflateError::Value),
        (PLAIN, "permessage-deflate; server_max_window_bits", DeflateError::Value),
        (PLAIN, "permessage-deflate; client_no_context_takeover=0", DeflateError::Value),
        (PLAIN, "permessage-deflate; client_max_window_bits=8", DeflateError::WindowTooSmall),
        (config, "permessage-deflate; server_max_window_bits=12", DeflateError::NotGranted),
        (config, "permessage-deflate; server_no_context_takeover", DeflateError::NotGranted),
        (
            config,
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=13",
            DeflateError::NotGranted,
        ),
    ] {
        assert_eq!(config.check_answer(&parse(answer)[0]), Err(error), "{answer}");
    }
}

#[test]
fn what_our_server_answers_our_client_accepts() {
    let configs = [
        PLAIN,
        PLAIN.server_max_window_bits(9),
        PLAIN.client_max_window_bits(9).client_no_context_takeover(true),
        PLAIN.server_no_context_takeover(true).server_max_window_bits(12),
    ];
    for client in configs {
        for server in configs {
            let params = server.accept(&[client.offer()]).unwrap();
            let seen = client.check_answer(&params.to_extension()).unwrap();
            assert_eq!(seen, params, "{client:?} {server:?}");
        }
    }
}
