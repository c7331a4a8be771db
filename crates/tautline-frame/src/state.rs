//! What is legal now: the life of a connection as one table (RFC 6455 sections 5.5.1 and 7.1).

/// The state of the connection.
///
/// ```text
///                        SendClose                    ReceiveClose
///              +--------------------> CloseSent -----------------------+
///              |                          |                            v
///   --------> Open                        +--- Fail, Eof -----------> Closed
///              |                          |                            ^
///              +--------------------> CloseReceived -------------------+
///              |         ReceiveClose                 SendClose        |
///              +------------------------- Fail, Eof -------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Messages go both ways.
    Open,
    /// We sent a Close: no data follows it; the peer's data is still delivered until its Close
    /// comes.
    CloseSent,
    /// The peer sent a Close: none of its data is delivered any more; our answer is on its way.
    CloseReceived,
    /// Terminal: both Closes were exchanged, or the connection failed, or the transport ended.
    Closed,
}

/// What happens to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The user sends a message, or a fragment of one is due.
    SendData,
    /// A ping of ours is due.
    SendPing,
    /// The answer to a ping is due.
    SendPong,
    /// The user closes, or the answer to a Close is sent.
    SendClose,
    /// A data frame came.
    ReceiveData,
    /// A ping or pong came.
    ReceiveControl,
    /// A Close frame came.
    ReceiveClose,
    /// The peer broke a rule, or a deadline passed (RFC 6455 section 7.1.7).
    Fail,
    /// The transport ended.
    Eof,
}

/// What the event leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It takes effect.
    Act,
    /// It has no effect, and that is correct.
    Ignore,
    /// It is the user's mistake and is reported to the user.
    Refuse,
}

impl State {
    /// Whether the event takes effect now.
    #[inline]
    pub(crate) const fn allows(self, event: Event) -> bool {
        matches!(self.on(event).1, Verdict::Act)
    }

    /// The state after the event, and what the event leads to.
    #[inline]
    pub(crate) const fn on(self, event: Event) -> (Self, Verdict) {
        use Event::{
            Eof, Fail, ReceiveClose, ReceiveControl, ReceiveData, SendClose, SendData, SendPing,
            SendPong,
        };
        use State::{CloseReceived, CloseSent, Closed, Open};
        use Verdict::{Act, Ignore, Refuse};
        match (self, event) {
            (Open, SendData | SendPing | SendPong | ReceiveData | ReceiveControl) => (Open, Act),
            (Open, SendClose) => (CloseSent, Act),
            (Open, ReceiveClose) => (CloseReceived, Act),

            // Section 5.5.1: "MUST NOT send any more data frames after sending a Close frame".
            (CloseSent, SendData) => (CloseSent, Refuse),
            (CloseSent, SendPing | SendClose) => (CloseSent, Ignore),
            // Section 5.5.2: a ping is answered "unless it already received a Close frame".
            (CloseSent, SendPong) => (CloseSent, Act),
            (CloseSent, ReceiveData | ReceiveControl) => (CloseSent, Act),
            (CloseSent, ReceiveClose) => (Closed, Act),
            // One Close was sent; there is no second.
            (CloseSent, Fail) => (Closed, Ignore),

            (CloseReceived, SendData) => (CloseReceived, Refuse),
            (CloseReceived, SendPing | SendPong) => (CloseReceived, Ignore),
            (CloseReceived, SendClose) => (Closed, Act),
            // Section 1.4: "any additional data received [after a Close] is discarded".
            (CloseReceived, ReceiveData | ReceiveControl | ReceiveClose) => (CloseReceived, Ignore),

            (Closed, SendData) => (Closed, Refuse),
            (Closed, _) => (Closed, Ignore),

            (Open | CloseReceived, Fail) => (Closed, Act),
            (Open | CloseSent | CloseReceived, Eof) => (Closed, Act),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const STATES: [State; 4] = [State::Open, State::CloseSent, State::CloseReceived, State::Closed];
    const EVENTS: [Event; 9] = [
        Event::SendData,
        Event::SendPing,
        Event::SendPong,
        Event::SendClose,
        Event::ReceiveData,
        Event::ReceiveControl,
        Event::ReceiveClose,
        Event::Fail,
        Event::Eof,
    ];

    // Any change of the table shows as a change of a committed file. After an intended change, copy
    // the printed table there.
    #[test]
    fn the_whole_matrix_is_as_committed() {
        let mut matrix = format!("{:<16}", "");
        for state in STATES {
            write!(matrix, "{:<24}", format!("{state:?}")).unwrap();
        }
        matrix.truncate(matrix.trim_end().len());
        matrix.push('\n');
        for event in EVENTS {
            write!(matrix, "{:<16}", format!("{event:?}")).unwrap();
            for state in STATES {
                let (next, verdict) = state.on(event);
                write!(matrix, "{:<24}", format!("{verdict:?} -> {next:?}")).unwrap();
            }
            matrix.truncate(matrix.trim_end().len());
            matrix.push('\n');
        }
        let committed = include_str!("state_matrix.txt");
        assert!(committed == matrix, "src/state_matrix.txt should be:\n{matrix}");
    }

    // Invariant 3: terminal, no data after our Close, nothing delivered after the peer's.
    #[test]
    fn closed_is_terminal_and_data_stops_at_the_closes() {
        for event in EVENTS {
            assert_eq!(State::Closed.on(event).0, State::Closed, "{event:?}");
            assert_ne!(State::Closed.on(event).1, Verdict::Act, "{event:?}");
        }
        for state in [State::CloseSent, State::CloseReceived, State::Closed] {
            assert_eq!(state.on(Event::SendData), (state, Verdict::Refuse));
        }
        for event in [Event::ReceiveData, Event::ReceiveControl, Event::ReceiveClose] {
            assert_eq!(State::CloseReceived.on(event).1, Verdict::Ignore);
        }
    }
}
