use super::*;
use crate::centrifuge::data::{Publication, SinceEpoch};
use crate::centrifuge::request::Stream;
use crate::position::{Epoch, Position};

const EPOCH: Epoch = Epoch::from_u64(0xabc);

/// A subscription that begins after this offset, with what was recovered up to there.
fn at(offset: u64, recovered: Option<&[u64]>) -> Subscribed {
    let publication = |offset: &u64| {
        let mut publication = Publication::new(offset.to_string());
        publication.offset = *offset;
        publication
    };
    let mut stream = Stream::new(Position { epoch: EPOCH, offset });
    stream.recoverable = true;
    stream.recovered = recovered.map(|offsets| offsets.iter().map(publication).collect());
    Subscribed { stream: Some(stream), ..Subscribed::default() }
}

fn recover(client: &mut Client, request: &str, answer: Subscribed) -> (Since, String) {
    client.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"a","recover":true{request}}}}}"#));
    let request = client.answer(Answer::Subscribe(answer));
    let Request::Subscribe(subscribe) = request else { panic!("{request:?}") };
    (subscribe.since.unwrap(), client.received())
}

#[test]
fn a_client_learns_where_it_is() {
    each_connected(&Config::new(), |mut client| {
        assert_eq!(
            client.subscribe("a", at(7, None)),
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"abc","offset":7,"positioned":true}}"#
        );
    });
    each_connected(&Config::new(), |mut client| {
        let mut positioned = at(7, None);
        positioned.stream.as_mut().unwrap().recoverable = false;
        assert_eq!(
            client.subscribe("a", positioned),
            r#"{"id":2,"subscribe":{"epoch":"abc","offset":7,"positioned":true}}"#
        );
    });
}

// Its offset goes on from its own, over what it missed.
#[test]
fn a_client_recovers_what_it_missed() {
    each_connected(&Config::new(), |mut client| {
        let (since, received) =
            recover(&mut client, r#","offset":5,"epoch":"abc""#, at(7, Some(&[6, 7])));
        assert_eq!(since, Since { offset: 5, epoch: SinceEpoch::Of(EPOCH) });
        assert_eq!(
            received,
            concat!(
                r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"abc","#,
                r#""publications":[{"data":6,"offset":6},{"data":7,"offset":7}],"#,
                r#""recovered":true,"offset":5,"positioned":true,"was_recovering":true}}"#
            )
        );
    });
    each_connected(&Config::new(), |mut client| {
        let (_, received) = recover(&mut client, r#","offset":7,"epoch":"abc""#, at(7, Some(&[])));
        assert_eq!(
            received,
            concat!(
                r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"abc","recovered":true,"#,
                r#""offset":7,"positioned":true,"was_recovering":true}}"#
            )
        );
    });
}

#[test]
fn a_client_is_told_that_it_cannot_recover() {
    each_connected(&Config::new(), |mut client| {
        let (since, received) = recover(&mut client, r#","offset":5,"epoch":"_""#, at(7, None));
        assert_eq!(since, Since { offset: 5, epoch: SinceEpoch::Foreign });
        assert_eq!(
            received,
            concat!(
                r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"abc","offset":7,"#,
                r#""positioned":true,"was_recovering":true}}"#
            )
        );
        assert_eq!(client.session.channels().count(), 1);
    });
}

// One that gets its state elsewhere, with `getState`, sets this flag: it wants an error instead.
#[test]
fn a_client_can_refuse_what_is_not_recovered() {
    each_connected(&Config::new(), |mut client| {
        let (_, received) = recover(&mut client, r#","offset":5,"flag":3"#, at(7, None));
        assert_eq!(received, r#"{"id":2,"error":{"code":112,"message":"unrecoverable position"}}"#);
        assert_eq!(client.left(), "a");
        assert_eq!(client.session.channels().count(), 0);
    });
    each_connected(&Config::new(), |mut client| {
        let (_, received) = recover(&mut client, r#","offset":7,"flag":3"#, at(7, Some(&[])));
        assert!(received.contains("recovered\":true"), "{received}");
        assert_eq!(client.session.channels().count(), 1);
    });
    each_connected(&Config::new(), |mut client| {
        client.send(r#"{"id":2,"subscribe":{"channel":"a","flag":3}}"#);
        client.answer(Answer::Subscribe(at(7, None)));
        assert_eq!(client.session.channels().count(), 1, "nothing was to be recovered");
    });
}

// Where only the latest one counts, a client that has it gets nothing, and any other that one.
#[test]
fn a_client_recovers_the_latest_one() {
    each_connected(&Config::new(), |mut client| {
        let (since, received) = recover(&mut client, "", at(7, Some(&[7])));
        assert_eq!(since, Since { offset: 0, epoch: SinceEpoch::Any });
        assert_eq!(
            received,
            concat!(
                r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"abc","#,
                r#""publications":[{"data":7,"offset":7}],"recovered":true,"#,
                r#""positioned":true,"was_recovering":true}}"#
            )
        );
    });
    // Also if the server sends it without being asked to.
    for (recovered, offset) in [(&[7][..], 6), (&[], 7)] {
        each_connected(&Config::new(), |mut client| {
            let received = client.subscribe("a", at(7, Some(recovered)));
            assert!(received.contains(&format!(r#""recovered":true,"offset":{offset},"#)));
            assert!(received.contains(r#""was_recovering":true"#), "{received}");
        });
    }
}
