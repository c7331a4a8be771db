//! A connection that somebody watches, or has something to tell.

use tautline_frame::{CloseCode, Compress};

use super::Connection;
use crate::observe::Observers;
use crate::registry::{ConnectionId, ConnectionInfo};
use crate::timer::now;
use crate::wakers::Wakers;

impl<S> Connection<S> {
    /// Is watched from now on.
    pub(crate) fn observe(&mut self, observers: &Observers) {
        let (info, protocol) = (&self.info, self.session.protocol());
        self.observed = observers.observe(|id| ConnectionInfo {
            subprotocol: info.subprotocol().map(str::to_owned),
            compressed: protocol.compression().is_some(),
            ..ConnectionInfo::opened(id, info.peer.clone(), info.version())
        });
    }

    pub(crate) fn registered(&self) -> Option<ConnectionId> {
        self.observed.as_ref()?.id()
    }

    /// Does what was asked of it from elsewhere.
    #[inline]
    pub(super) fn check_mail(&mut self) {
        if let Some(observed) = &self.observed
            && observed.is_called()
        {
            self.obey();
        }
    }

    /// Tells how things are, since there is nothing to do for now. Returns whether there is something
    /// again: it was asked for something meanwhile.
    #[inline(never)]
    pub(super) fn report(&mut self, wakers: Wakers<'_>) -> bool {
        let Some(observed) = &mut self.observed else { return false };
        observed.report(self.session.protocol());
        observed.listen(wakers.write) && self.obey()
    }

    /// Returns whether anything was done.
    #[cold]
    fn obey(&mut self) -> bool {
        let Some(member) = self.observed.as_mut().and_then(|observed| observed.member()) else {
            return false;
        };
        let (mut messages, close) = member.take_mail();
        let mut acted = false;
        while self.session.has_room()
            && let Some(message) = messages.pop_front()
        {
            acted |= self.session.send(message, Compress::Auto).is_ok();
        }
        if !self.session.protocol().is_open() {
            return acted;
        }
        if !messages.is_empty() {
            member.put_back(messages, close);
            return acted;
        }
        let Some(frame) = close else { return acted };
        // It has a code that a server must not send.
        if self.session.close(frame, now()).is_err() {
            let _ = self.session.close(CloseCode::GOING_AWAY.into(), now());
        }
        true
    }

    /// It has ended, or is somebody else's.
    pub(super) fn end_observing(&mut self) {
        if let Some(mut observed) = self.observed.take() {
            observed.end(self.session.protocol());
        }
    }
}
