//! What is logged, as text.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, Once};

use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt, registry};

thread_local! {
    static CURRENT: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// The events of this thread from TRACE on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

/// Ends collecting when it is dropped.
#[derive(Debug)]
pub(crate) struct Collecting(());

impl Drop for Collecting {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

impl Log {
    /// Collects until the guard is dropped.
    pub(crate) fn start(&self) -> Collecting {
        static INSTALLED: Once = Once::new();
        // One subscriber for all threads. With one for each test, tests that run at the same time
        // lost events: whether an event interests anybody is kept for all threads, and computed
        // while other tests come and go.
        INSTALLED.call_once(|| {
            let collected = || CURRENT.with_borrow(Clone::clone).unwrap_or_default();
            let layer = fmt::layer().with_ansi(false).with_writer(collected);
            let active = dynamic_filter_fn(|_, _| CURRENT.with_borrow(Option::is_some));
            let subscriber = registry().with(layer.with_filter(active));
            tracing::subscriber::set_global_default(subscriber).expect("nobody else sets one");
        });
        CURRENT.set(Some(self.clone()));
        Collecting(())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
