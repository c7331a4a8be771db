//! Every backend against a loop over single bytes (RFC 6455 section 5.3).

use super::*;

type Backend = unsafe fn(u32, *const u8, *mut u8, usize);

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Bytes that must not be changed, before and after a payload.
const GUARD: u8 = 0xa5;

/// Section 5.3 as written: octet `i` is combined with octet `i MOD 4` of the key.
fn by_bytes(key: [u8; 4], offset: usize, data: &[u8]) -> Vec<u8> {
    data.iter().enumerate().map(|(i, byte)| byte ^ key[(offset + i) % 4]).collect()
}

/// Bytes without a period that could hide a mistake with a vector or a key.
fn payload(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(next).collect()
}

/// The backends that this CPU can run, each with the shortest payload that it accepts.
fn backends() -> Vec<(&'static str, usize, Backend)> {
    let mut backends: Vec<(&'static str, usize, Backend)> =
        vec![("scalar", 0, scalar::xor), ("baseline", VECTOR, baseline), ("chosen", 0, xor)];
    #[cfg(target_arch = "x86_64")]
    {
        backends.push(("sse2", 16, x86::sse2));
        if std::arch::is_x86_feature_detected!("avx2") {
            backends.push(("avx2", 32, x86::avx2));
            backends.push(("avx2, aligned", 64, x86::avx2_aligned));
        }
        if std::arch::is_x86_feature_detected!("avx512f") {
            backends.push(("avx512", 128, x86::avx512));
        }
    }
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    backends.push(("neon", 16, aarch64::neon));
    backends
}

#[test]
fn apply_agrees_with_section_5_3_for_every_length_offset_and_alignment() {
    let source = payload(600);
    for len in (0..=300).chain(500..=600) {
        for offset in 0..8 {
            let expected = by_bytes(KEY, offset, &source[..len]);
            for start in 0..33 {
                let mut buffer = vec![GUARD; start + len + 33];
                buffer[start..start + len].copy_from_slice(&source[..len]);
                apply(KEY, offset, &mut buffer[start..start + len]);
                assert_eq!(buffer[start..start + len], expected, "{len} {offset} {start}");
                assert!(buffer[..start].iter().all(|&byte| byte == GUARD), "{len} {start}");
                assert!(buffer[start + len..].iter().all(|&byte| byte == GUARD), "{len} {start}");
            }
        }
    }
}

#[test]
fn every_backend_agrees_with_section_5_3_in_place_and_between_buffers() {
    let source = payload(740);
    for (name, shortest, backend) in backends() {
        for len in (shortest..=300).chain(600..=700) {
            let key = u32::from_le_bytes(KEY);
            for start in 0..33 {
                let expected = by_bytes(KEY, 0, &source[start..start + len]);
                let mut buffer = source.clone();
                let at = buffer[start..start + len].as_mut_ptr();
                // SAFETY: `at` is that of `len` bytes, which the backend takes and this CPU can
                // run.
                unsafe { backend(key, at, at, len) };
                assert_eq!(buffer[start..start + len], expected, "{name} {len} {start}");
                assert_eq!(buffer[..start], source[..start], "{name} {len} {start}");
                assert_eq!(buffer[start + len..], source[start + len..], "{name} {len} {start}");

                let mut target = vec![GUARD; len + 66];
                let to = 32 - start;
                // SAFETY: both are ranges of `len` bytes, of different buffers.
                unsafe {
                    let to = target[to..to + len].as_mut_ptr();
                    backend(key, source[start..start + len].as_ptr(), to, len);
                }
                assert_eq!(target[to..to + len], expected, "{name} {len} {start}");
                assert!(target[..to].iter().all(|&byte| byte == GUARD), "{name} {len} {start}");
                assert!(target[to + len..].iter().all(|&byte| byte == GUARD), "{name} {len}");
            }
        }
    }
}

#[test]
fn large_payloads_are_masked_to_their_last_byte() {
    for len in [4095, 4096, 65_537, 1 << 20, (1 << 20) + 31] {
        let source = payload(len);
        let expected = by_bytes(KEY, 3, &source);
        for (name, _, backend) in backends() {
            let mut data = source.clone();
            let at = data.as_mut_ptr();
            // SAFETY: `at` is that of `len` bytes, which this CPU can mask with the backend.
            unsafe { backend(key_at(u32::from_le_bytes(KEY), 3), at, at, len) };
            assert!(data == expected, "{name} {len}");
        }
        let mut copied = BytesMut::new();
        copy(KEY, &source, &mut copied);
        assert!(copied == by_bytes(KEY, 0, &source), "copy {len}");
        assert!(to_vec(KEY, &source) == by_bytes(KEY, 0, &source), "to_vec {len}");
    }
}

#[test]
fn a_payload_may_be_masked_in_pieces_of_any_length() {
    let source = payload(300);
    let expected = by_bytes(KEY, 0, &source);
    for piece in 1..=300 {
        let mut data = source.clone();
        let mut done = 0;
        for part in data.chunks_mut(piece) {
            apply(KEY, done, part);
            done += part.len();
        }
        assert_eq!(data, expected, "pieces of {piece}");
    }
    // The offset counts the payload's bytes, which may be more than any piece in memory.
    let mut data = source.clone();
    apply(KEY, usize::MAX, &mut data);
    assert_eq!(data, by_bytes(KEY, 3, &source));
}

#[test]
fn copy_appends_behind_what_is_there() {
    let source = payload(300);
    for len in 0..=300 {
        assert_eq!(to_vec(KEY, &source[..len]), by_bytes(KEY, 0, &source[..len]), "{len}");
        for before in [0, 1, 7, 14, 33] {
            for capacity in [0, before + len] {
                let mut dst = BytesMut::with_capacity(capacity);
                dst.extend_from_slice(&vec![GUARD; before]);
                copy(KEY, &source[..len], &mut dst);
                assert_eq!(dst.len(), before + len);
                assert!(dst[..before].iter().all(|&byte| byte == GUARD), "{len} {before}");
                assert_eq!(dst[before..], by_bytes(KEY, 0, &source[..len]), "{len} {before}");
            }
        }
    }
}
