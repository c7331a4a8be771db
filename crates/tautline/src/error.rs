//! Errors of any type: boxed, and with all of their causes for logs, since each error's own text
//! tells its level only.

use std::error::Error;
use std::fmt;

/// What a handler's error becomes: `?` turns any error into it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Displays an error and, separated by colons, its sources.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(all(test, not(tautline_loom)))]
pub(crate) mod tests {
    use super::*;

    /// Each level has a text, and none repeats that of its source, or the chain would print it
    /// twice.
    pub(crate) fn assert_one_level_each(error: &(dyn Error + 'static)) {
        let text = error.to_string();
        assert!(!text.is_empty(), "{error:?}");
        if let Some(source) = error.source() {
            assert!(!text.contains(&source.to_string()), "{text:?} contains its source");
            assert_one_level_each(source);
        }
    }
}
