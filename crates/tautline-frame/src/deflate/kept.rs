//! What a thread keeps between messages for all of its connections.

use std::cell::RefCell;
use std::thread::LocalKey;

/// Up to so many values that connections borrow for the length of a message. What is large is
/// boxed: connections hold a pointer to it, and nothing is moved.
#[derive(Debug)]
pub(super) struct Kept<T> {
    most: usize,
    values: RefCell<Vec<T>>,
}

impl<T> Kept<T> {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, values: RefCell::new(Vec::new()) }
    }
}

/// The newest value that fits; `None` also when the thread is about to end.
pub(super) fn take<T>(of: &'static LocalKey<Kept<T>>, fits: impl FnMut(&T) -> bool) -> Option<T> {
    of.try_with(|kept| {
        let mut values = kept.values.borrow_mut();
        values.iter().rposition(fits).map(|index| values.remove(index))
    })
    .ok()?
}

/// Keeps a value. Where there are enough, the oldest goes: it may be one that nobody asks for any
/// more.
pub(super) fn give<T>(of: &'static LocalKey<Kept<T>>, value: T) {
    let _ = of.try_with(|kept| {
        let mut values = kept.values.borrow_mut();
        if values.len() == kept.most {
            values.remove(0);
        }
        values.push(value);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_kept_and_the_oldest_goes() {
        thread_local! {
            static NUMBERS: Kept<u32> = const { Kept::new(2) };
        }
        assert_eq!(take(&NUMBERS, |_| true), None);
        for number in 1..=3 {
            give(&NUMBERS, number);
        }
        assert_eq!(take(&NUMBERS, |number| *number == 2), Some(2));
        assert_eq!(take(&NUMBERS, |_| true), Some(3));
        assert_eq!(take(&NUMBERS, |_| true), None);
    }
}
