//! Masking in safe, portable Rust: short payloads everywhere, and every payload on a CPU without a
//! backend of its own. The blocks of fixed size are what lets the compiler use the vectors that
//! every CPU of the target has.

/// Masks `data` in place; `key` is the key of the first byte, its bytes in little-endian order.
#[inline]
pub(super) fn apply(key: u32, data: &mut [u8]) {
    let key64 = u64::from(key) << 32 | u64::from(key);
    let key = key.to_le_bytes();
    // Each size of block is a multiple of the key's length, so the key never has to be turned.
    let mut blocks = data.chunks_exact_mut(32);
    for block in &mut blocks {
        for word in block.chunks_exact_mut(key.len()) {
            xor(word, key);
        }
    }
    let mut words = blocks.into_remainder().chunks_exact_mut(8);
    for word in &mut words {
        xor(word, key64.to_le_bytes());
    }
    let mut halves = words.into_remainder().chunks_exact_mut(4);
    for half in &mut halves {
        xor(half, key);
    }
    xor(halves.into_remainder(), key);
}

#[inline]
fn xor<const N: usize>(block: &mut [u8], key: [u8; N]) {
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
}
