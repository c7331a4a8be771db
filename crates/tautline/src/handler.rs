//! What the handler of a connection returns.

use crate::error::BoxError;

/// What a handler returns: nothing, or a result whose error is logged. One that never returns has
/// to say which of them it does not: `std::future::pending::<()>().await`.
pub trait HandlerResult: sealed::Sealed {
    /// The result.
    ///
    /// # Errors
    /// The handler's.
    fn into_result(self) -> Result<(), BoxError>
    where
        Self: 'static;
}

impl HandlerResult for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// For errors of any lifetime, though it is always `'static`: in a task that holds a service, which
/// holds a handler, the compiler has forgotten that, and would find no implementation.
impl<'a> HandlerResult for Result<(), Box<dyn std::error::Error + Send + Sync + 'a>> {
    fn into_result(self) -> Result<(), BoxError>
    where
        Self: 'static,
    {
        self
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<'a> Sealed for Result<(), Box<dyn std::error::Error + Send + Sync + 'a>> {}
}
