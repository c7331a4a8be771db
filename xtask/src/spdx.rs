//! License expressions as crates declare them (SPDX): identifiers, AND, OR, WITH, parentheses.

/// Whether the expression can be satisfied with the allowed licenses alone; an expression that
/// cannot be read is not. `LICENSE WITH EXCEPTION` must be allowed as a whole.
pub(crate) fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { tokens: &tokens, allowed };
    parser.any() == Some(true) && parser.tokens.is_empty()
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    allowed: &'a [String],
}

impl<'a> Parser<'a> {
    /// `all (OR all)*`
    fn any(&mut self) -> Option<bool> {
        let mut value = self.all()?;
        while self.take("OR") {
            value |= self.all()?;
        }
        Some(value)
    }

    /// `one (AND one)*`
    fn all(&mut self) -> Option<bool> {
        let mut value = self.one()?;
        while self.take("AND") {
            value &= self.one()?;
        }
        Some(value)
    }

    /// `( any )`, or a license with or without an exception.
    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let value = self.any()?;
            return self.take(")").then_some(value);
        }
        let license = self.identifier()?;
        if self.take("WITH") {
            let exception = self.identifier()?;
            let whole = format!("{license} WITH {exception}");
            return Some(self.allowed.contains(&whole));
        }
        Some(self.allowed.iter().any(|allowed| allowed == license))
    }

    fn identifier(&mut self) -> Option<&'a str> {
        let (first, rest) = self.tokens.split_first()?;
        if ["AND", "OR", "WITH", "(", ")"].contains(first) {
            return None;
        }
        self.tokens = rest;
        Some(first)
    }

    fn take(&mut self, token: &str) -> bool {
        let taken = self.tokens.first() == Some(&token);
        if taken {
            self.tokens = &self.tokens[1..];
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str) -> bool {
        let allowed =
            ["MIT", "Apache-2.0", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        satisfied(expression, &allowed)
    }

    #[test]
    fn one_choice_is_enough_and_every_part_is_needed() {
        assert!(check("MIT"));
        assert!(check("MIT OR GPL-3.0-only"));
        assert!(check("GPL-3.0-only OR MIT"));
        assert!(!check("MIT AND GPL-3.0-only"));
        assert!(check("MIT/Apache-2.0"), "the old way to say OR");
    }

    #[test]
    fn and_binds_before_or_and_parentheses_before_both() {
        assert!(check("MIT OR ISC AND GPL-3.0-only"));
        assert!(!check("(MIT OR ISC) AND GPL-3.0-only"));
        assert!(check("ISC AND (Apache-2.0 OR OpenSSL)"));
        assert!(!check("GPL-2.0 AND (Apache-2.0 OR (MIT AND ISC))"));
    }

    #[test]
    fn an_exception_belongs_to_its_license() {
        assert!(check("Apache-2.0 WITH LLVM-exception"));
        assert!(!check("MIT WITH LLVM-exception"));
        assert!(check("GPL-2.0-only WITH Classpath-exception-2.0 OR MIT"));
    }

    #[test]
    fn what_cannot_be_read_is_not_satisfied() {
        for expression in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT ISC", "MIT WITH", "()"] {
            assert!(!check(expression), "{expression}");
        }
    }
}
