//! A decoder of RFC 1951 by the book: slow, and strict about how far back a reference reaches,
//! which zlib's is not.

/// Reads blocks that are not marked as the last, up to the end of the input; `None` if the data is
/// invalid, or refers further back than `window` bytes.
pub(crate) fn inflate(input: &[u8], window: usize) -> Option<Vec<u8>> {
    let mut bits = Bits { input, position: 0 };
    let mut out = Vec::new();
    while bits.position + 8 <= input.len() * 8 {
        let _last = bits.take(1)?;
        match bits.take(2)? {
            0 => stored(&mut bits, &mut out)?,
            1 => {
                let lengths: Vec<u8> = (0..288)
                    .map(|symbol| match symbol {
                        144..=255 => 9,
                        256..=279 => 7,
                        _ => 8,
                    })
                    .collect();
                block(&mut bits, &mut out, &Code::new(&lengths), &Code::new(&[5; 30]), window)?;
            }
            2 => {
                let (literals, distances) = codes(&mut bits)?;
                block(&mut bits, &mut out, &literals, &distances, window)?;
            }
            _ => return None,
        }
    }
    Some(out)
}

struct Bits<'a> {
    input: &'a [u8],
    position: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Option<usize> {
        let mut value = 0;
        for index in 0..count {
            let byte = *self.input.get(self.position / 8)?;
            value |= usize::from(byte >> (self.position % 8) & 1) << index;
            self.position += 1;
        }
        Some(value)
    }
}

/// A canonical code (section 3.2.2): the symbols by length and value.
struct Code(Vec<(u8, u16)>);

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut symbols: Vec<_> =
            lengths.iter().copied().zip(0..).filter(|(length, _)| *length > 0).collect();
        symbols.sort_unstable();
        Self(symbols)
    }

    fn read(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for length in 1..=15 {
            code = code << 1 | bits.take(1)?;
            let count = self.0[index..].iter().take_while(|(of, _)| *of == length).count();
            if code < first + count {
                return Some(usize::from(self.0[index + code - first].1));
            }
            index += count;
            first = (first + count) << 1;
        }
        None
    }
}

fn stored(bits: &mut Bits<'_>, out: &mut Vec<u8>) -> Option<()> {
    bits.position = bits.position.next_multiple_of(8);
    let (length, check) = (bits.take(16)?, bits.take(16)?);
    if length != !check & 0xFFFF {
        return None;
    }
    for _ in 0..length {
        out.push(bits.take(8)? as u8);
    }
    Some(())
}

/// Section 3.2.7: the two codes of a dynamic block.
fn codes(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let (literals, distances) = (bits.take(5)? + 257, bits.take(5)? + 1);
    let count = bits.take(4)? + 4;
    let mut lengths = [0; 19];
    for &symbol in &ORDER[..count] {
        lengths[symbol] = bits.take(3)? as u8;
    }
    let code = Code::new(&lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (value, times) = match code.read(bits)? {
            16 => (*lengths.last()?, bits.take(2)? + 3),
            17 => (0, bits.take(3)? + 3),
            18 => (0, bits.take(7)? + 11),
            length => (length as u8, 1),
        };
        lengths.extend(std::iter::repeat_n(value, times));
    }
    Some((Code::new(&lengths[..literals]), Code::new(&lengths[literals..])))
}

/// Section 3.2.5: literals, and references of a length and a distance.
fn block(
    bits: &mut Bits<'_>,
    out: &mut Vec<u8>,
    literals: &Code,
    distances: &Code,
    window: usize,
) -> Option<()> {
    loop {
        let symbol = literals.read(bits)?;
        if symbol < 256 {
            out.push(symbol as u8);
            continue;
        }
        let length = match symbol.wrapping_sub(257) {
            usize::MAX => return Some(()),

            short @ 0..8 => short + 3,
            28 => 258,
            long => {
                let extra = (long as u32 - 4) / 4;
                ((4 + long % 4) << extra) + 3 + bits.take(extra)?
            }
        };
        let distance = match distances.read(bits)? {
            near @ 0..4 => near + 1,
            far => {
                let extra = (far as u32 - 2) / 2;
                ((2 + far % 2) << extra) + 1 + bits.take(extra)?
            }
        };
        let start = out.len().checked_sub(distance).filter(|_| distance <= window)?;
        (start..start + length).for_each(|index| out.push(out[index]));
    }
}
