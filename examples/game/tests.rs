//! The world by itself, and a game of two over pipes.

use serde_json::Value;
use tautline::{CloseCode, Role, WebSocket};
use tautline_hub::Hub;
use tokio::io::{DuplexStream, duplex};

use crate::arena::Arena;
use crate::session::{parse, serve};
use crate::topics::{Input, hub};
use crate::world::{HEIGHT, WIDTH, World};

fn go(player: &str, x: f64, y: f64) -> Input {
    Input::Go { player: player.to_owned(), name: format!("name of {player}"), x, y }
}

fn place(world: &World, player: &str) -> (f64, f64) {
    let place = &world.places()["players"][player];
    (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
}

#[test]
fn a_player_goes_where_it_wants_up_to_the_wall() {
    let mut world = World::new(7);
    world.hear(go("a", 1.0, 0.0));
    assert!(world.step(), "there is somebody new");
    let mut before = place(&world, "a");
    for _ in 0..300 {
        world.hear(go("a", 1.0, 0.0));
        world.step();
        let now = place(&world, "a");
        assert!(now.0 > before.0 || now.0 == WIDTH - 22.0, "{now:?}");
        assert!(now.1 == before.1 && now.1 <= HEIGHT);
        before = now;
    }
    assert_eq!(before.0, WIDTH - 22.0);
}

#[test]
fn a_light_that_is_reached_counts_and_is_elsewhere_then() {
    let mut world = World::new(7);
    world.hear(go("a", 0.0, 0.0));
    world.step();
    for _ in 0..2_000 {
        let (x, y) = place(&world, "a");
        let light = &world.places()["lights"][0];
        let (to_x, to_y) = (light[0].as_f64().unwrap() - x, light[1].as_f64().unwrap() - y);
        let far = to_x.hypot(to_y).max(1.0);
        world.hear(go("a", to_x / far, to_y / far));
        if world.step() {
            let score = &world.people()["people"][0]["score"];
            assert!(score.as_u64().unwrap() >= 1);
            assert_eq!(world.places()["lights"].as_array().unwrap().len(), 6);
            return;
        }
    }
    panic!("no light was reached");
}

#[test]
fn who_leaves_or_is_not_heard_of_is_gone_and_there_are_not_too_many() {
    let mut world = World::new(7);
    for number in 0..100 {
        world.hear(go(&number.to_string(), 0.0, 0.0));
    }
    assert!(world.step());
    assert_eq!(world.people()["people"].as_array().unwrap().len(), 32);
    assert!(!world.step(), "nobody new");
    world.hear(Input::Left { player: "1".to_owned() });
    assert!(world.step());
    for _ in 0..160 {
        world.hear(go("2", 0.0, 0.0));
        world.step();
    }
    let people = world.people();
    assert_eq!(people["people"].as_array().unwrap().len(), 1);
    assert_eq!(people["people"][0]["name"], "name of 2");
}

#[test]
fn what_is_no_direction_is_refused_and_nobody_is_faster_than_others() {
    for wrong in ["", "1", "a b", "NaN 0", "inf 0", "1 2 3", "0,1 0"] {
        assert_eq!(parse(wrong), None, "{wrong}");
    }
    let (x, y) = parse("300 -400").unwrap();
    assert!((x.hypot(y) - 1.0).abs() < 1e-9 && y < 0.0);
    assert_eq!(parse("0.5 0"), Some((0.5, 0.0)));
    for input in [go("a\"b", 0.25, -0.5), Input::Left { player: "a".to_owned() }] {
        assert_eq!(Input::decode(&input.encode()), Some(input));
    }
    for wrong in ["", "[]", r#"{"player":1}"#, r#"{"player":"a","name":"b","x":"1","y":0}"#] {
        assert_eq!(Input::decode(wrong), None, "{wrong}");
    }
    assert_eq!(Input::decode(&go(&"x".repeat(600), 0.0, 0.0).encode()), None);
}

fn page(hub: &Hub, name: &str) -> WebSocket<DuplexStream> {
    let (near, far) = duplex(1 << 16);
    let ws = WebSocket::builder(Role::Server).build(near);
    tokio::spawn(serve(ws, name.to_owned(), hub.clone()));
    WebSocket::builder(Role::Client).build(far)
}

/// The next message of this type.
async fn next(page: &mut WebSocket<DuplexStream>, kind: &str) -> Value {
    loop {
        let message = page.next().await.unwrap().unwrap();
        let message: Value = serde_json::from_str(message.as_text().unwrap()).unwrap();
        if message["type"] == kind {
            return message;
        }
    }
}

/// Ticks until this page has seen so many people.
async fn meet(arena: &mut Arena, page: &mut WebSocket<DuplexStream>, count: usize) -> Value {
    loop {
        arena.tick().await.unwrap();
        next(page, "world").await;
        arena.tick().await.unwrap();
        let world = next(page, "world").await;
        if world["players"].as_object().unwrap().len() == count {
            return world;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_comes_late_sees_the_arena_at_once_and_who_goes_is_gone() {
    let hub = hub().build();
    let mut arena = Arena::open(&hub).await.unwrap();
    let mut first = page(&hub, "first");
    let you = next(&mut first, "welcome").await["you"].as_str().unwrap().to_owned();
    first.send("1 0").await.unwrap();
    meet(&mut arena, &mut first, 1).await;
    // No tick passes until the late joiner has all of this.
    let mut late = page(&hub, "late");
    assert_eq!(next(&mut late, "people").await["people"][0]["name"], "first");
    assert!(next(&mut late, "world").await["players"][&you].is_array());
    late.send("0 0").await.unwrap();
    meet(&mut arena, &mut first, 2).await;
    late.send("not a direction").await.unwrap();
    while let Some(message) = late.next().await {
        message.unwrap();
    }
    assert_eq!(late.close_frame().unwrap().code(), CloseCode::POLICY_VIOLATION);
    meet(&mut arena, &mut first, 1).await;
}
