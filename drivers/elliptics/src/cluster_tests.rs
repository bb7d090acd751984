//! What is known of a node from what it says, and how often one is connected.

use std::sync::atomic::Ordering;

use docker_registry_driver_api::Settings;
use serde_json::json;

use super::*;
use crate::{fake_node::FakeNode, wire::ID_SIZE};

fn node(backends: Vec<Backend>) -> Node {
    let since = Instant::now();
    Node { links: None, backends, since, is_seen: true, refusal: None, is_tried: true }
}

fn backend(number: u32, ids: usize) -> Backend {
    Backend { number, group: 1, ids: vec![Id([number as u8; ID_SIZE]); ids], is_gone: false }
}

#[test]
fn a_backend_that_a_node_does_not_name_any_more_is_away_and_its_ids_stay() {
    let mut node = node(vec![backend(1, 2), backend(2, 3)]);
    node.introduce(vec![backend(2, 4)]);
    node.backends.sort_by_key(|backend| backend.number);
    assert_eq!(node.backends, [Backend { is_gone: true, ..backend(1, 2) }, backend(2, 4)]);
    // It says so as well when it is ready, and when it goes.
    node.learn(vec![backend(1, 2), Backend { group: 0, ids: Vec::new(), is_gone: true, ..backend(2, 0) }]);
    node.backends.sort_by_key(|backend| backend.number);
    assert_eq!(node.backends, [backend(1, 2), Backend { is_gone: true, ..backend(2, 4) }]);
}

#[test]
fn a_node_cannot_say_more_and_more() {
    let mut node = node(Vec::new());
    for number in 0..2 * MOST_BACKENDS as u32 {
        node.learn(vec![backend(number, 1)]);
    }
    assert_eq!(node.backends.len(), MOST_BACKENDS);
    node.introduce(vec![backend(5, MOST_IDS + 1), backend(MOST_BACKENDS as u32 + 5, 1)]);
    assert_eq!(node.backends.len(), MOST_BACKENDS);
    assert!(node.backends.iter().all(|backend| backend.ids.len() == 1));
    // What it kept is not its neighbours'.
    let is_away = |backend: &Backend| backend.number == 5 && backend.is_gone;
    assert!(node.backends.iter().any(is_away));
}

#[tokio::test]
async fn a_node_that_is_late_with_the_list_of_the_others_stays_connected() {
    let fake = FakeNode::start(1, false, Arc::default()).await;
    let values = json!({ "elliptics_nodes": format!("{}:2", fake.address), "elliptics_groups": [1],
        "elliptics_wait_timeout": 1, "elliptics_check_timeout": 1 });
    let settings = Settings::new(values.as_object().cloned().unwrap());
    let cluster = Cluster::open(EllipticsSettings::read(&settings).unwrap()).await.unwrap();
    fake.behaviour.hangs.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(cluster.absent_nodes(), "");
    fake.behaviour.hangs.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(fake.behaviour.greetings.load(Ordering::Relaxed), 2, "it was connected again");
}

#[tokio::test]
async fn a_node_that_owes_an_answer_and_is_silent_is_lost() {
    let fake = FakeNode::start(1, false, Arc::default()).await;
    let values = json!({ "elliptics_nodes": format!("{}:2", fake.address), "elliptics_groups": [1],
        "elliptics_wait_timeout": 60, "elliptics_check_timeout": 1 });
    let settings = Settings::new(values.as_object().cloned().unwrap());
    let cluster = Cluster::open(EllipticsSettings::read(&settings).unwrap()).await.unwrap();
    fake.behaviour.hangs.store(true, Ordering::Relaxed);
    // The list of the others is owed from some time on; questions whether it is alive are no sign of life.
    let begin = std::time::Instant::now();
    while cluster.absent_nodes().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(20), "it is never lost");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_opening_ends_although_a_node_answers_no_more_than_greetings() {
    let fake = FakeNode::start(1, false, Arc::default()).await;
    fake.behaviour.only_greets.store(true, Ordering::Relaxed);
    let values = json!({ "elliptics_nodes": format!("{}:2", fake.address), "elliptics_groups": [1] });
    let settings = Settings::new(values.as_object().cloned().unwrap());
    let settings = EllipticsSettings::read(&settings).unwrap();
    let opening = crate::open_within(settings, Duration::from_secs(1));
    let opened = tokio::time::timeout(Duration::from_secs(3), opening).await.expect("it goes on");
    let error = opened.map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(error.message.starts_with("elliptics_nodes"), "{error}");
}

#[tokio::test]
async fn an_opening_outlasts_a_connection_that_breaks() {
    let fake = FakeNode::start(1, false, Arc::default()).await;
    // The first request behind the greetings is not answered.
    fake.behaviour.requests.store(1, Ordering::Relaxed);
    fake.behaviour.breaks_every.store(2, Ordering::Relaxed);
    let values = json!({ "elliptics_nodes": format!("{}:2", fake.address), "elliptics_groups": [1] });
    let settings = Settings::new(values.as_object().cloned().unwrap());
    Cluster::open(EllipticsSettings::read(&settings).unwrap()).await.map(drop).unwrap();
    assert!(fake.behaviour.greetings.load(Ordering::Relaxed) > 2, "nothing broke");
}

#[tokio::test]
async fn a_node_that_hangs_up_at_once_is_not_connected_in_a_hurry() {
    let fake = FakeNode::start(1, false, Arc::default()).await;
    let values = json!({ "elliptics_nodes": format!("{}:2", fake.address), "elliptics_groups": [1] });
    let settings = Settings::new(values.as_object().cloned().unwrap());
    let _cluster = Cluster::open(EllipticsSettings::read(&settings).unwrap()).await.unwrap();
    fake.behaviour.hangs_up.store(true, Ordering::Relaxed);
    fake.stop();
    fake.start_again().await;
    let greetings = || fake.behaviour.greetings.load(Ordering::Relaxed);
    let before = greetings();
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Two connections each time, after pauses that double.
    let count = greetings() - before;
    assert!((4..=24).contains(&count), "{count} greetings");
}
