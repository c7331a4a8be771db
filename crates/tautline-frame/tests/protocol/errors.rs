//! RFC 6455 section 7.4.1: every broken rule has its close code, and that code is sent on the wire.

use tautline_frame::{CloseCode, CloseFrame, Config, ProtocolError, Role};

use crate::peer::*;

/// Bytes for an endpoint of this role, the error that they are, and its code; one line for each
/// variant.
fn cases(role: Role) -> Vec<(Vec<u8>, ProtocolError, u16)> {
    let other = if role == Role::Server { Role::Client } else { Role::Server };
    let masking = match role {
        Role::Server => ProtocolError::MaskMissing,
        Role::Client => ProtocolError::MaskUnexpected,
    };
    let one = |first, payload: &[u8]| frame(role, first, payload);
    let wide = raw_header(role, BINARY, 127, &[0x80, 0, 0, 0, 0, 0, 0, 1]);
    let four: [(u8, &[u8]); 4] = [(TEXT_PART, b""), (PART, b""), (PART, b""), (PART, b"")];
    #[cfg_attr(not(feature = "deflate"), expect(unused_mut, reason = "grows with the feature"))]
    let mut cases = vec![
        (one(CLOSE, &close_body(1006, "")), ProtocolError::CloseCode(1006), 1002),
        (one(CLOSE, &[3]), ProtocolError::CloseLength, 1002),
        (one(CLOSE, &close_body(1000, [0xFF])), ProtocolError::CloseReason, 1007),
        (frames(role, &[(TEXT_PART, b""), (TEXT, b"")]), ProtocolError::ContinuationExpected, 1002),
        (one(PART, b""), ProtocolError::ContinuationUnexpected, 1002),
        (one(0x09, b""), ProtocolError::ControlFragmented, 1002),
        (one(PING, &[0; 126]), ProtocolError::ControlTooLong, 1002),
        (one(BINARY, &[0; 2001]), ProtocolError::FrameTooLong { limit: 2000 }, 1009),
        (raw_header(role, BINARY, 126, &[0, 1]), ProtocolError::LengthNotMinimal, 1002),
        (wide, ProtocolError::LengthTopBit, 1002),
        (frame(other, TEXT, b"x"), masking, 1002),
        (one(BINARY, &[0; 1001]), ProtocolError::MessageTooLong { limit: 1000 }, 1009),
        (one(0xA1, b""), ProtocolError::ReservedBits, 1002),
        (one(0x8B, b""), ProtocolError::ReservedOpcode(0xB), 1002),
        (frames(role, &four), ProtocolError::TooManyFragments { limit: 3 }, 1008),
        (one(TEXT, &[0xFF]), ProtocolError::Utf8, 1007),
    ];
    #[cfg(feature = "deflate")]
    {
        cases.push((one(BINARY | 0x40, &[0x06]), ProtocolError::Inflate, 1007));
        let last_blocks = one(BINARY | 0x40, &[0x03, 0x00].repeat(500));
        cases.push((last_blocks, ProtocolError::TooManyLastBlocks, 1008));
    }
    cases
}

fn end(role: Role) -> End {
    #[cfg_attr(not(feature = "deflate"), expect(unused_mut, reason = "changes with the feature"))]
    let mut end = End::with(role, config());
    #[cfg(feature = "deflate")]
    end.protocol.set_compression(tautline_frame::Compression::new());
    end
}

fn config() -> Config {
    Config::new().max_message_size(1000).max_frame_size(2000).max_fragments(3)
}

#[test]
fn every_error_leads_to_its_close_code_on_the_wire() {
    for role in ROLES {
        for (bytes, error, code) in cases(role) {
            for step in [1, bytes.len()] {
                let mut end = end(role);
                let failed = bytes.chunks(step).find_map(|piece| end.receive_bytes(piece).err());
                assert_eq!(failed, Some(error));
                assert_eq!(error.close_code().as_u16(), code);
                let frame = CloseFrame::from(error);
                assert_eq!((frame.code().as_u16(), frame.reason()), (code, &*error.to_string()));
                assert_eq!(end.written(), [close_for(error, code)], "{role:?} {error:?}");
                assert_eq!(end.protocol.sent_close().map(CloseCode::as_u16), Some(code));
                assert!(!end.protocol.is_open());
                assert_eq!(end.written(), [], "once");
            }
        }
    }
}

// Together the two roles cover every variant; this check finds a new one, since the enum cannot be
// matched exhaustively from outside the crate.
#[test]
fn every_error_is_among_the_cases() {
    let mut names: Vec<String> = ROLES
        .into_iter()
        .flat_map(cases)
        .map(|(_, error, _)| format!("{error:?}").split(['(', ' ']).next().unwrap().to_owned())
        .collect();
    // Impossible without the feature `deflate`.
    names.extend(["Inflate", "TooManyLastBlocks"].map(str::to_owned));
    // Only of messages in pieces: see `pieces`.
    names.push("StreamTooLong".to_owned());
    // Only of a `Session`: see its tests, `rates`.
    names.extend(["TooManyBytes", "TooManyControlFrames", "TooManyMessages"].map(str::to_owned));
    names.sort();
    names.dedup();
    let source = include_str!("../../src/error.rs");
    let variants = source
        .split_once("pub enum ProtocolError {")
        .and_then(|(_, rest)| rest.split_once("\n}"))
        .map(|(body, _)| {
            let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
            let names = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
            names.map(|line| line.split(['(', ' ', ',']).next().unwrap()).collect::<Vec<_>>()
        });
    assert_eq!(Some(names.iter().map(String::as_str).collect()), variants);
}
