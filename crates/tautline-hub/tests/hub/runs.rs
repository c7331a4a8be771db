//! What comes at once: publications one after the other to the same topic, and what comes between them.

use std::collections::{BTreeMap, BTreeSet};

use tautline_hub::{Attach, Hub, Member, Slow, Subscribe};

use crate::support::{Peer, filter, member_with, text, texts, topic};
use crate::xorshift::Xorshift;

const TOPICS: [&str; 4] = ["a", "b", "c.1", "c.2"];
const FILTERS: [&str; 5] = ["a", "b", "c.1", "c.*", ">"];

/// Who is subscribed to what, and what each must get.
#[derive(Default)]
struct Expected {
    filters: BTreeMap<usize, BTreeSet<&'static str>>,
    texts: BTreeMap<usize, Vec<String>>,
}

impl Expected {
    fn publish(&mut self, topic: &str, text: &str, but: Option<usize>) {
        for (member, filters) in &self.filters {
            let matches = |filter: &&str| match *filter {
                ">" => true,
                "c.*" => topic.starts_with("c."),
                other => other == topic,
            };
            let copies = filters.iter().copied().filter(|filter| matches(filter)).count();
            if but != Some(*member) {
                let texts = self.texts.entry(*member).or_default();
                texts.extend(std::iter::repeat_n(text.to_owned(), copies));
            }
        }
    }
}

fn members(hub: &Hub, count: usize) -> Vec<(Member, Peer)> {
    let attach = || Attach::new().slow(Slow::drop_oldest(usize::MAX)).limit(usize::MAX);
    (0..count).map(|_| member_with(hub, attach(), 1 << 20)).collect()
}

/// One step, of which nobody hears before all have been made: nothing here waits.
async fn step(
    hub: &Hub,
    members: &[(Member, Peer)],
    numbers: &mut Xorshift,
    expected: &mut Expected,
    number: usize,
) {
    let who = numbers.index(members.len());
    let (member, text) = (&members[who].0, number.to_string());
    match numbers.index(10) {
        0 => {
            let one = FILTERS[numbers.index(FILTERS.len())];
            let joined = member.subscribe(filter(one), Subscribe::new()).await;
            assert_eq!(joined.is_ok(), expected.filters.entry(who).or_default().insert(one));
        }
        1 => {
            let one = FILTERS[numbers.index(FILTERS.len())];
            let left = member.unsubscribe(filter(one));
            assert_eq!(left, expected.filters.entry(who).or_default().remove(one));
        }
        2 => {
            member.send(text.as_str());
            expected.texts.entry(who).or_default().push(text);
        }
        // Several to one topic: by the hub, and by a member, who does not get it.
        kind => {
            let name = TOPICS[numbers.index(TOPICS.len())];
            for part in 0..=numbers.index(5) {
                let text = format!("{text}.{part}");
                let by = (kind + part) % 4 == 0;
                match by {
                    true => member.publish(&topic(name), text.as_str()).await.map(drop).unwrap(),
                    false => hub.publish(&topic(name), text.as_str()).await.map(drop).unwrap(),
                }
                expected.publish(name, &text, by.then_some(who));
            }
        }
    }
}

#[tokio::test]
async fn each_gets_all_that_is_for_it_in_order_however_much_comes_at_once() {
    for seed in 1..=60 {
        let hub = Hub::new();
        let mut members = members(&hub, 6);
        let (mut numbers, mut expected) = (Xorshift(seed * 7919), Expected::default());
        for number in 0..200 {
            step(&hub, &members, &mut numbers, &mut expected, number).await;
            // Now and then the workers get a turn.
            if seed % 3 > 0 && number % 17 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for (who, (member, peer)) in members.iter_mut().enumerate() {
            member.send("end");
            let wanted = expected.texts.remove(&who).unwrap_or_default();
            let got = up_to_the_end(peer).await;
            assert_eq!(by_filters(got), by_filters(wanted), "seed {seed}");
        }
    }
}

async fn up_to_the_end(peer: &mut Peer) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        match text(peer).await {
            end if end == "end" => return texts,
            text => texts.push(text),
        }
    }
}

/// Copies that come by several filters come in any order: only each text's first place counts.
fn by_filters(texts: Vec<String>) -> (Vec<String>, usize) {
    let (count, mut seen) = (texts.len(), BTreeSet::new());
    (texts.into_iter().filter(|text| seen.insert(text.clone())).collect(), count)
}

// More than is noted down at once: it is written in between, and nothing is lost or out of order.
#[tokio::test]
async fn a_burst_that_is_larger_than_a_round_arrives_whole() {
    let hub = Hub::new();
    let mut members = members(&hub, 20);
    for (member, _) in &members {
        for name in ["a", "b"] {
            member.subscribe(topic(name), Subscribe::new()).await.unwrap();
        }
    }
    let mut wanted = Vec::new();
    for (name, count) in [("a", 4000), ("b", 4000), ("a", 10)] {
        for number in 0..count {
            let text = format!("{name}{number}");
            hub.publish(&topic(name), text.as_str()).await.unwrap();
            wanted.push(text);
        }
    }
    for (_, peer) in &mut members {
        assert_eq!(texts(peer, wanted.len()).await, wanted);
    }
}

// Some of the subscribers are found to have ended while a run is written to them: each of the others gets it.
#[tokio::test]
async fn who_has_ended_keeps_nothing_from_the_others() {
    let hub = Hub::new();
    let mut members = members(&hub, 100);
    for (member, _) in &members {
        member.subscribe(topic("a"), Subscribe::new()).await.unwrap();
    }
    // Every other one, without a Close.
    let left: Vec<_> = members.split_off(0);
    let mut gone = Vec::new();
    for (number, (member, peer)) in left.into_iter().enumerate() {
        match number % 2 {
            0 => gone.push(member),
            _ => members.push((member, peer)),
        }
    }
    for text in ["1", "2", "3"] {
        hub.publish(&topic("a"), text).await.unwrap();
        tokio::task::yield_now().await;
    }
    for (_, peer) in &mut members {
        assert_eq!(texts(peer, 3).await, ["1", "2", "3"]);
    }
    assert!(gone.iter().all(Member::has_ended));
    assert!(!members.iter().any(|(member, _)| member.has_ended()));
    assert_eq!(hub.subscribers(&filter("a")), 50);
}
