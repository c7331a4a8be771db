//! A publication on its way to the subscribers of this node.

use std::any::TypeId;
use std::fmt;
use std::sync::{Arc, OnceLock};

use tautline::{Message, Prepared};

use crate::position::Position;
use crate::publication::Publication;
use crate::topic::Topic;

/// A publication with its topic and its place there. It is framed, and compressed, once for all
/// subscribers whose connections take it in the same form. Clones share everything.
#[derive(Clone)]
pub struct Delivery(Arc<Shared>);

struct Shared {
    topic: Topic,
    publication: Publication,
    position: Option<Position>,
    /// The offset of the one before it in the history.
    previous: u64,
    plain: OnceLock<Prepared>,
    forms: Form,
}

/// A form in which protocols put publications, such as a push in JSON. It is made once for each
/// publication, whoever asks first.
pub trait Format: 'static {
    /// The message for subscribers.
    fn encode(delivery: &Delivery) -> Message;
}

/// One form, and the next: a list that only grows, by one for each format in use.
#[derive(Default)]
struct Form {
    made: OnceLock<(TypeId, Prepared)>,
    next: OnceLock<Box<Form>>,
}

/// What a publication takes in memory beside its payload, about: two allocations, and the frame.
const OVERHEAD: usize = 384;

impl Delivery {
    pub(crate) fn new(
        topic: Topic,
        publication: Publication,
        place: Option<(Position, u64)>,
    ) -> Self {
        let (position, previous) = place.unzip();
        Self(Arc::new(Shared {
            topic,
            publication,
            position,
            previous: previous.unwrap_or(0),
            plain: OnceLock::new(),
            forms: Form::default(),
        }))
    }

    /// What it was published to.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.0.topic
    }

    /// What was published.
    #[must_use]
    pub fn publication(&self) -> &Publication {
        &self.0.publication
    }

    /// Where it is in the history of the topic, if that has one.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.0.position
    }

    pub(crate) fn previous(&self) -> u64 {
        self.0.previous
    }

    /// The same, with this offset before it, if it is another one.
    pub(crate) fn behind(&self, previous: u64) -> Self {
        if self.0.previous == previous {
            return self.clone();
        }
        let place = self.position().map(|position| (position, previous));
        Self::new(self.0.topic.clone(), self.0.publication.clone(), place)
    }

    /// What it counts where bytes are bounded.
    pub(crate) fn size(&self) -> usize {
        let publication = &self.0.publication;
        let beside = [publication.get_key(), publication.get_meta()];
        let beside: usize = beside.into_iter().flatten().map(bytes::Bytes::len).sum();
        publication.message().len() + beside + OVERHEAD
    }

    /// The message as it was published.
    #[must_use]
    pub fn plain(&self) -> &Prepared {
        self.0.plain.get_or_init(|| Prepared::new(self.0.publication.message().clone()))
    }

    /// The message in a format.
    #[must_use]
    pub fn form<F: Format>(&self) -> &Prepared {
        let mut form = &self.0.forms;
        loop {
            let (of, made) =
                form.made.get_or_init(|| (TypeId::of::<F>(), Prepared::new(F::encode(self))));
            if *of == TypeId::of::<F>() {
                return made;
            }
            form = form.next.get_or_init(Box::default);
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("topic", self.topic())
            .field("position", &self.position())
            .field("publication", self.publication())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_form_is_made_once() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        struct Loud;
        struct Twice;
        impl Format for Loud {
            fn encode(delivery: &Delivery) -> Message {
                MADE.fetch_add(1, Ordering::Relaxed);
                format!("{}!", delivery.publication().message()).into()
            }
        }
        impl Format for Twice {
            fn encode(delivery: &Delivery) -> Message {
                MADE.fetch_add(1, Ordering::Relaxed);
                format!("{0}{0}", delivery.publication().message()).into()
            }
        }
        let delivery = Delivery::new(Topic::new("a").unwrap(), "b".into(), None);
        for _ in 0..3 {
            let clone = delivery.clone();
            assert_eq!(clone.form::<Loud>().message().as_text(), Some("b!"));
            assert_eq!(clone.form::<Twice>().message().as_text(), Some("bb"));
            assert_eq!(clone.plain().message().as_text(), Some("b"));
        }
        assert_eq!(MADE.load(Ordering::Relaxed), 2);
    }
}
