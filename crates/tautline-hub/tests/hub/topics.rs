//! Who gets what is published.

use tautline_hub::{Hub, Publication, PublishError, Start, Subscribe, SubscribeError};

use crate::support::{filter, member, text, texts, topic};

#[tokio::test]
async fn subscribers_get_what_is_published_and_others_do_not() {
    let hub = Hub::new();
    let (alice, mut alices) = member(&hub);
    let (bob, mut bobs) = member(&hub);
    let (carol, mut carols) = member(&hub);
    let chat = topic("chat");
    assert_eq!(
        alice.subscribe(&chat, Subscribe::new()).await.unwrap(),
        Start::Live { position: None }
    );
    bob.subscribe(&chat, Subscribe::new()).await.unwrap();
    assert_eq!(hub.subscribers(&filter("chat")), 2);
    hub.publish(&chat, "to all").await.unwrap();
    // Not to who publishes it.
    alice.publish(&chat, "from alice").await.unwrap();
    hub.publish(&chat, "the end").await.unwrap();
    assert_eq!(texts(&mut alices, 2).await, ["to all", "the end"]);
    assert_eq!(texts(&mut bobs, 3).await, ["to all", "from alice", "the end"]);
    hub.send(carol.id(), "for carol");
    assert_eq!(text(&mut carols).await, "for carol", "and nothing before");
}

#[tokio::test]
async fn binary_messages_stay_so() {
    let hub = Hub::new();
    let (alice, mut peer) = member(&hub);
    alice.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
    hub.publish(&topic("a"), vec![0, 255]).await.unwrap();
    assert_eq!(peer.next().await.unwrap().unwrap().into_bytes(), [0, 255][..]);
}

#[tokio::test]
async fn a_topic_is_gone_when_nobody_is_left() {
    let hub = Hub::new();
    let (alice, mut peer) = member(&hub);
    let (bob, _bobs) = member(&hub);
    let a = topic("a");
    for member in [&alice, &bob] {
        member.subscribe(&a, Subscribe::new()).await.unwrap();
    }
    alice.subscribe(filter("b.*"), Subscribe::new()).await.unwrap();
    assert_eq!(hub.topics(), 1);
    hub.publish(&a, "before").await.unwrap();
    assert!(alice.unsubscribe(&a));
    assert!(!alice.unsubscribe(&a), "it has none any more");
    hub.publish(&a, "after").await.unwrap();
    hub.publish(&topic("b.1"), "pattern").await.unwrap();
    // What was published before it left is sent: others lose it when the last topic is left (uWebSockets #1673).
    assert_eq!(texts(&mut peer, 2).await, ["before", "pattern"]);
    drop(bob);
    assert_eq!(hub.topics(), 0);
    assert!(alice.unsubscribe(filter("b.*")));
    assert_eq!(hub.subscribers(&filter("b.*")), 0);
}

#[tokio::test]
async fn patterns_match_as_they_come() {
    let hub = Hub::new();
    let (one, mut ones) = member(&hub);
    let (rest, mut rests) = member(&hub);
    let (both, mut boths) = member(&hub);
    one.subscribe(filter("game.*.chat"), Subscribe::new()).await.unwrap();
    rest.subscribe(filter("game.>"), Subscribe::new()).await.unwrap();
    both.subscribe(filter("game.1.chat"), Subscribe::new()).await.unwrap();
    both.subscribe(filter("game.1.*"), Subscribe::new()).await.unwrap();
    for (name, message) in [("game.1.chat", "1"), ("game.2.red.chat", "2"), ("game", "3")] {
        hub.publish(&topic(name), message).await.unwrap();
    }
    hub.publish(&topic("game.7.chat"), "end").await.unwrap();
    hub.publish(&topic("game.1.chat"), "end").await.unwrap();
    assert_eq!(texts(&mut ones, 3).await, ["1", "end", "end"]);
    assert_eq!(texts(&mut rests, 4).await, ["1", "2", "end", "end"]);
    // Once for each of its subscriptions (a pattern does not steal messages: uWebSockets #914).
    assert_eq!(texts(&mut boths, 4).await, ["1", "1", "end", "end"]);
}

#[tokio::test]
async fn a_member_subscribes_once_and_to_so_many() {
    let hub = Hub::builder().max_subscriptions(2).max_topics(2).build();
    let (alice, _peer) = member(&hub);
    alice.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
    let again = alice.subscribe(&topic("a"), Subscribe::new()).await;
    assert!(matches!(again, Err(SubscribeError::AlreadySubscribed)));
    alice.subscribe(filter("*"), Subscribe::new()).await.unwrap();
    let third = alice.subscribe(&topic("b"), Subscribe::new()).await;
    assert!(matches!(third, Err(SubscribeError::TooMany(2))));
    assert_eq!(hub.topics(), 1, "what was refused leaves nothing behind");
    let (bob, _bobs) = member(&hub);
    bob.subscribe(&topic("b"), Subscribe::new()).await.unwrap();
    let full = bob.subscribe(&topic("c"), Subscribe::new()).await;
    assert!(matches!(full, Err(SubscribeError::TooManyTopics(2))));
    alice.unsubscribe(topic("a"));
    bob.subscribe(&topic("c"), Subscribe::new()).await.unwrap();
}

#[tokio::test]
async fn a_hub_that_was_shut_down_refuses_everything() {
    let hub = Hub::new();
    let (alice, mut peer) = member(&hub);
    hub.shut_down();
    assert!(peer.next().await.is_none());
    assert_eq!(peer.close_frame().unwrap().code(), tautline::CloseCode::GOING_AWAY);
    let published = hub.publish(&topic("a"), "a").await;
    assert!(matches!(published, Err(PublishError::Ended)));
    let subscribed = alice.subscribe(&topic("a"), Subscribe::new()).await;
    assert!(matches!(subscribed, Err(SubscribeError::Ended)));
    let (_late, mut late) = member(&hub);
    assert!(late.next().await.is_none());
}

// Each publisher's messages keep their order, whoever else publishes, and however many workers there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_order_of_each_publisher_is_kept() {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 500;
    let hub = Hub::new();
    let a = topic("a");
    let mut listeners = Vec::new();
    for _ in 0..10 {
        let (member, mut peer) = member(&hub);
        member.subscribe(&a, Subscribe::new()).await.unwrap();
        listeners.push(tokio::spawn(async move {
            let mut next = [0; PUBLISHERS];
            for _ in 0..PUBLISHERS * EACH {
                let text = text(&mut peer).await;
                let (publisher, number) = text.split_once(' ').unwrap();
                let publisher: usize = publisher.parse().unwrap();
                assert_eq!(number.parse(), Ok(next[publisher]));
                next[publisher] += 1;
            }
            drop(member);
        }));
    }
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let (hub, a) = (hub.clone(), a.clone());
        tokio::spawn(async move {
            for number in 0..EACH {
                hub.publish(&a, Publication::new(format!("{publisher} {number}"))).await.unwrap();
            }
        })
    });
    for task in publishers.collect::<Vec<_>>().into_iter().chain(listeners) {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_member_of_thousands_of_topics_has_each_in_the_order_of_publishing() {
    const TOPICS: usize = 5000;
    // As many as a member may have unless the application says otherwise.
    const MOST: usize = 10_000;
    let hub = Hub::new();
    let (alice, mut peer) = member(&hub);
    let topics: Vec<_> = (0..=MOST).map(|number| topic(&format!("t{number}"))).collect();
    for topic in &topics[..TOPICS] {
        alice.subscribe(topic, Subscribe::new()).await.unwrap();
    }
    // In another order than that of subscribing: 7 and 5000 have no common divisor.
    let order: Vec<_> = (0..TOPICS).map(|number| number * 7 % TOPICS).collect();
    let publish = async {
        for number in &order {
            hub.publish(&topics[*number], number.to_string()).await.unwrap();
        }
        hub.publish(&topics[MOST], "for nobody").await.unwrap();
        hub.publish(&topics[0], "the end").await.unwrap();
    };
    let ((), got) = tokio::join!(publish, texts(&mut peer, TOPICS + 1));
    let expected = order.iter().map(usize::to_string).chain(["the end".to_owned()]);
    assert!(got.into_iter().eq(expected));

    for topic in &topics[TOPICS..MOST] {
        alice.subscribe(topic, Subscribe::new()).await.unwrap();
    }
    let one_more = alice.subscribe(&topics[MOST], Subscribe::new()).await;
    assert!(matches!(one_more, Err(SubscribeError::TooMany(MOST))), "{one_more:?}");
    assert_eq!(hub.topics(), MOST, "what was refused leaves nothing behind");
    hub.publish(&topics[MOST - 1], "the last one").await.unwrap();
    assert_eq!(text(&mut peer).await, "the last one");
}
