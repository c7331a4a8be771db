//! The body of a response of the middleware.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response of [`UpgradeService`](crate::UpgradeService): that of the service it
    /// passed the request on to, or the text of a refusal.
    pub struct UpgradeBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        // All of it in one frame; empty when that was taken.
        Answer { text: Bytes },
        Inner { #[pin] body: B },
    }
}

impl<B> UpgradeBody<B> {
    pub(crate) const fn answer(text: Bytes) -> Self {
        Self { kind: Kind::Answer { text } }
    }

    pub(crate) const fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }
}

impl<B: Body<Data = Bytes>> Body for UpgradeBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Answer { text } if text.is_empty() => Poll::Ready(None),
            KindProjection::Answer { text } => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(text)))))
            }
            KindProjection::Inner { body } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Answer { text } => text.is_empty(),
            Kind::Inner { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Answer { text } => SizeHint::with_exact(text.len() as u64),
            Kind::Inner { body } => body.size_hint(),
        }
    }
}

impl<B> fmt::Debug for UpgradeBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpgradeBody")
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test]
    async fn a_body_is_that_of_the_answer_or_that_of_the_inner_service() {
        let inner = Full::new(Bytes::from("a page"));
        let bodies = [UpgradeBody::answer(Bytes::from("refused")), UpgradeBody::inner(inner)];
        for (body, text) in bodies.into_iter().zip(["refused", "a page"]) {
            assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
            assert!(!body.is_end_stream());
            assert_eq!(body.collect().await.unwrap().to_bytes(), text);
        }
        let none = UpgradeBody::<Full<Bytes>>::answer(Bytes::new());
        assert!(none.is_end_stream());
        assert_eq!(none.size_hint().exact(), Some(0));
    }
}
