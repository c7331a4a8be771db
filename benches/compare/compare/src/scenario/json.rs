//! Text as a feed sends it: JSON messages whose keys repeat and whose values differ.

/// A small generator of numbers (xorshift): the same messages in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

const SYMBOLS: &[&str] =
    &["EURUSD", "GBPUSD", "USDJPY", "AUDNZD", "BTCUSD", "ETHUSD", "XAUUSD", "WTIUSD"];
const VENUES: &[&str] = &["london", "frankfurt", "new-york", "tokyo", "singapore"];
const STATES: &[&str] = &["open", "filled", "partially-filled", "cancelled"];

/// So many different messages of exactly this length, ASCII.
pub(crate) fn messages(count: usize, length: usize) -> Vec<Vec<u8>> {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    (0..count as u64).map(|sequence| message(&mut numbers, sequence, length)).collect()
}

fn message(numbers: &mut Numbers, sequence: u64, length: usize) -> Vec<u8> {
    let mut text = format!(
        "{{\"type\":\"update\",\"sequence\":{},\"time\":{},\"orders\":[",
        81_234_000 + sequence,
        1_760_000_000_000 + sequence * 137 + numbers.below(90)
    );
    while text.len() + 170 < length {
        let pick = |numbers: &mut Numbers, of: &[&'static str]| {
            of[numbers.below(of.len() as u64) as usize]
        };
        text.push_str(&format!(
            "{{\"id\":\"{:016x}\",\"symbol\":\"{}\",\"venue\":\"{}\",\"price\":{}.{:05},\"quantity\":{},\"side\":\"{}\",\"state\":\"{}\"}},",
            numbers.next(),
            pick(numbers, SYMBOLS),
            pick(numbers, VENUES),
            1 + numbers.below(2_000),
            numbers.below(100_000),
            100 * (1 + numbers.below(50)),
            if numbers.below(2) == 0 { "buy" } else { "sell" },
            pick(numbers, STATES),
        ));
    }
    text.push_str("null],\"note\":\"");
    // The rest is filled with what hardly compresses, as names and tokens are.
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    while text.len() + 2 < length {
        text.push(char::from(LETTERS[numbers.below(LETTERS.len() as u64) as usize]));
    }
    text.push_str("\"}");
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_length_and_differ() {
        for length in [1024, 16 * 1024] {
            let all = messages(64, length);
            assert!(all.iter().all(|message| message.len() == length && message.is_ascii()));
            assert!(
                all.iter().all(|message| all.iter().filter(|other| *other == message).count() == 1)
            );
        }
    }
}
