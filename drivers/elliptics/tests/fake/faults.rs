//! Nodes that go, hang and come back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use docker_registry_driver_api::{
    Bytes, CallContext, Condition, Driver, ErrorKind, ListRequest, ObjectPath, Prefix, UploadHint,
    byte_stream,
};
use docker_registry_driver_elliptics::EllipticsDriver;
use libtest_mimic::Trial;
use serde_json::json;

use crate::{cluster::FakeCluster, node::id_of, trial};

const MIB: usize = 1 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_push_completes_while_a_node_of_each_group_goes_in_turn", push),
        trial("a_push_completes_when_a_node_hangs", hang),
        trial("a_node_that_comes_back_with_old_data_never_wins", stale),
        trial("a_majority_is_enough_and_less_is_an_error_that_may_pass", majority),
        trial("a_copy_moves_no_content_and_outlives_its_source", shared),
        trial("nothing_is_left_of_content_that_was_replaced_or_deleted", no_remains),
        trial("of_many_drivers_that_write_if_absent_one_wins", one_wins),
        trial("a_node_that_keeps_the_tail_of_longer_content_is_understood", tails),
        trial("answers_that_get_lost_lose_no_content", lost_answers),
        trial("a_neighbour_does_not_answer_for_a_node_that_is_away", neighbour),
        trial("with_two_groups_a_push_waits_for_nodes_that_are_away_and_completes", two_groups),
        trial("calls_of_many_requests_get_through_while_connections_break", breaks),
        trial("a_driver_that_is_closed_has_freed_what_nobody_needs", closed),
        trial("a_counter_that_many_raise_while_nodes_come_and_go_is_never_wrong", counter),
    ]
}

fn path(path: &str) -> ObjectPath {
    ObjectPath::new(path).unwrap()
}

fn pattern(size: usize) -> Bytes {
    (0..size).map(|place| (place / 3 % 251) as u8).collect::<Vec<u8>>().into()
}

async fn content(driver: &EllipticsDriver, name: &str) -> Bytes {
    driver.get(&CallContext::default(), &path(name), 1 << 30).await.unwrap().content
}

async fn put(driver: &EllipticsDriver, name: &str, content: Bytes) -> docker_registry_driver_api::Result<()> {
    driver.put(&CallContext::default(), &path(name), content, &Condition::Always).await.map(drop)
}

async fn push() {
    let cluster = FakeCluster::start(3, 2, false).await;
    let driver = cluster.driver().await.unwrap();
    let call = CallContext::default();
    let mut state = driver.open_upload(&call, &UploadHint::default()).await.unwrap();
    let mut whole = Vec::new();
    for number in 0..6 {
        // A node of each group goes, and comes back when that of the next one goes.
        let goes = &cluster.nodes[number];
        if number % 2 == 1 {
            goes.stop();
        } else if number > 0 {
            cluster.nodes[number - 1].start_again().await;
        }
        let piece = pattern(3 * MIB + number);
        whole.extend_from_slice(&piece);
        let chunks: Vec<Bytes> = piece.chunks(100_000).map(Bytes::copy_from_slice).collect();
        let offset = (whole.len() - piece.len()) as u64;
        let appended = driver.append(&call, &state, offset, byte_stream(chunks)).await.unwrap();
        state = appended.state;
    }
    driver.commit(&call, &state, &path("blobs/data"), &Condition::Always).await.unwrap();
    assert_eq!(content(&driver, "blobs/data").await, whole);
    put(&driver, "links/tag", Bytes::from_static(b"tag")).await.unwrap();
    assert_eq!(content(&driver, "links/tag").await, "tag");
}

/// A node of each group goes at the same time: nobody else may take what they keep.
async fn two_groups() {
    let cluster = FakeCluster::start(2, 2, false).await;
    let driver = Arc::new(cluster.driver().await.unwrap());
    let call = CallContext::default();
    for number in 0..20 {
        put(&driver, &format!("tags/{number}"), Bytes::from_static(b"old")).await.unwrap();
    }
    let state = driver.open_upload(&call, &UploadHint::default()).await.unwrap();
    let halves = [pattern(3 * MIB), pattern(4 * MIB)];
    let state = driver.append(&call, &state, 0, byte_stream([halves[0].clone()])).await.unwrap().state;
    cluster.nodes[0].stop();
    cluster.nodes[2].stop();
    let pushing = tokio::spawn({
        let (driver, second) = (Arc::clone(&driver), halves[1].clone());
        async move {
            let call = CallContext::default();
            let appended = driver.append(&call, &state, 3 * MIB as u64, byte_stream([second])).await.unwrap();
            driver.commit(&call, &appended.state, &path("blobs/data"), &Condition::Always).await.unwrap();
            for number in 0..20 {
                put(&driver, &format!("tags/{number}"), Bytes::from_static(b"new")).await.unwrap();
            }
        }
    });
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(!pushing.is_finished(), "of what both keep nothing can be written");
    cluster.nodes[0].start_again().await;
    cluster.nodes[2].start_again().await;
    pushing.await.unwrap();
    // Whichever copy is alone.
    for away in 0..4 {
        cluster.nodes[away].stop();
        for number in 0..20 {
            assert_eq!(content(&driver, &format!("tags/{number}")).await, "new");
        }
        assert_eq!(content(&driver, "blobs/data").await, halves.concat());
        cluster.nodes[away].start_again().await;
    }
}

async fn breaks() {
    let cluster = FakeCluster::start(2, 1, true).await;
    let mut settings = cluster.settings();
    settings["most_attempts"] = json!(1);
    let driver = crate::cluster::open(settings).await.unwrap();
    let call = CallContext::default();
    let mut states = Vec::new();
    for _ in 0..30 {
        let state = driver.open_upload(&call, &UploadHint::default()).await.unwrap();
        let piece = byte_stream([Bytes::from_static(b"piece")]);
        states.push(driver.append(&call, &state, 0, piece).await.unwrap().state);
    }
    for node in &cluster.nodes {
        node.behaviour.breaks_every.store(40, Ordering::Relaxed);
    }
    for (number, state) in states.iter().take(10).enumerate() {
        let path = path(&format!("{number}/{number}/blob"));
        driver.commit(&call, state, &path, &Condition::IfAbsent).await.unwrap();
    }
    let later = std::time::SystemTime::now() + Duration::from_secs(60);
    let page = driver.list_uploads(&call, later, None, 1000).await.unwrap();
    assert_eq!(page.uploads.len(), 20);
    let request = ListRequest { recursive: true, ..ListRequest::below(Prefix::root()) };
    assert_eq!(driver.list(&call, &request).await.unwrap().entries.len(), 10);
    assert_eq!(driver.delete_tree(&call, &Prefix::root()).await.unwrap(), 10);
}

async fn hang() {
    let cluster = FakeCluster::start(3, 1, false).await;
    let driver = cluster.driver().await.unwrap();
    cluster.nodes[1].behaviour.hangs.store(true, Ordering::Relaxed);
    put(&driver, "a/small", Bytes::from_static(b"small")).await.unwrap();
    put(&driver, "a/large", pattern(5 * MIB)).await.unwrap();
    assert_eq!(content(&driver, "a/small").await, "small");
    assert_eq!(content(&driver, "a/large").await, pattern(5 * MIB));
}

async fn stale() {
    let cluster = FakeCluster::start(3, 1, false).await;
    let driver = cluster.driver().await.unwrap();
    put(&driver, "tag", Bytes::from_static(b"old")).await.unwrap();
    put(&driver, "gone", Bytes::from_static(b"old")).await.unwrap();
    for away in 0..3 {
        let new = Bytes::from(format!("new {away}"));
        cluster.nodes[away].stop();
        put(&driver, "tag", new.clone()).await.unwrap();
        if away == 0 {
            driver.delete(&CallContext::default(), &path("gone")).await.unwrap();
        }
        cluster.nodes[away].start_again().await;
        // Another driver, which has not seen what was there before.
        let other = cluster.driver().await.unwrap();
        for reader in [&driver, &other] {
            assert_eq!(content(reader, "tag").await, new);
            let error = reader.head(&CallContext::default(), &path("gone")).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::NotFound);
            let page =
                reader.list(&CallContext::default(), &ListRequest::below(Prefix::root())).await.unwrap();
            let names: Vec<_> = page.entries.into_iter().map(|entry| entry.path).collect();
            assert_eq!(names, ["tag"]);
        }
    }
}

async fn majority() {
    let cluster = FakeCluster::start(3, 1, false).await;
    let driver = cluster.driver().await.unwrap();
    put(&driver, "a", Bytes::from_static(b"one")).await.unwrap();
    cluster.nodes[0].stop();
    put(&driver, "a", Bytes::from_static(b"two")).await.unwrap();
    cluster.nodes[2].stop();
    let short = CallContext::with_timeout(Duration::from_secs(2));
    let error =
        driver.put(&short, &path("a"), Bytes::from_static(b"three"), &Condition::Always).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    cluster.nodes[0].start_again().await;
    cluster.nodes[2].start_again().await;
    let read = content(&driver, "a").await;
    // The write that failed may have happened, and has said so.
    assert!(read == "two" || (error.outcome_unknown && read == "three"), "{read:?} {error}");
}

async fn shared() {
    let cluster = FakeCluster::start(2, 1, false).await;
    let driver = cluster.driver().await.unwrap();
    let call = CallContext::default();
    put(&driver, "a", pattern(9 * MIB)).await.unwrap();
    let bytes = |cluster: &FakeCluster| -> usize {
        let disk = |node: &crate::node::FakeNode| {
            node.disk.lock().unwrap().objects.values().map(|stored| stored.data.len()).sum::<usize>()
        };
        cluster.nodes.iter().map(disk).sum()
    };
    let before = bytes(&cluster);
    driver.copy(&call, &path("a"), &path("b")).await.unwrap();
    assert!(bytes(&cluster) < before + MIB, "the copy has no content of its own");
    driver.delete(&call, &path("a")).await.unwrap();
    put(&driver, "a", Bytes::from_static(b"another")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(content(&driver, "b").await, pattern(9 * MIB));
}

async fn no_remains() {
    let cluster = FakeCluster::start(2, 1, false).await;
    let driver = cluster.driver().await.unwrap();
    let call = CallContext::default();
    let large = |cluster: &FakeCluster| {
        let is_large = |stored: &&crate::node::Stored| stored.data.len() > 100_000;
        let count = |node: &crate::node::FakeNode| {
            node.disk.lock().unwrap().objects.values().filter(is_large).count()
        };
        cluster.nodes.iter().map(count).sum::<usize>()
    };
    put(&driver, "a", pattern(5 * MIB)).await.unwrap();
    put(&driver, "b", pattern(5 * MIB)).await.unwrap();
    driver.rename(&call, &path("a"), &path("c")).await.unwrap();
    assert_eq!(large(&cluster), 2 * 6);
    put(&driver, "b", Bytes::from_static(b"small")).await.unwrap();
    driver.delete(&call, &path("c")).await.unwrap();
    while large(&cluster) > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(cluster.copies(&id_of("DOCKER", "a")).is_empty());
    assert!(cluster.objects() > 0);
}

async fn neighbour() {
    let cluster = FakeCluster::start(1, 3, false).await;
    let driver = cluster.driver().await.unwrap();
    let away = &cluster.nodes[1];
    // Names that the node keeps, and others.
    let (mut kept, mut others) = (Vec::new(), Vec::new());
    for number in 0.. {
        if kept.len() >= 2 && others.len() >= 2 {
            break;
        }
        let name = format!("a/{number}");
        put(&driver, &name, Bytes::from_static(b"old")).await.unwrap();
        let record = id_of("DOCKER", &format!(".docker-registry/elliptics/record/{name}"));
        let is_kept = cluster.copies(&record).iter().any(|(address, _)| *address == away.address);
        if is_kept { kept.push(name) } else { others.push(name) }
    }
    away.stop();
    let short = || CallContext::with_timeout(Duration::from_secs(3));
    for name in kept.iter().take(2) {
        let begin = std::time::Instant::now();
        let read = driver.get(&short(), &path(name), 100).await.map(drop).unwrap_err();
        let new = Bytes::from_static(b"new");
        let written = driver.put(&short(), &path(name), new, &Condition::Always).await.unwrap_err();
        for error in [read, written] {
            assert!(matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
        }
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(7), "two calls went on behind their deadlines: {took:?}");
    }
    for name in others.iter().take(2) {
        assert_eq!(content(&driver, name).await, "old");
    }
    away.start_again().await;
    for name in kept.iter().chain(&others) {
        assert_eq!(content(&driver, name).await, "old");
    }
}

async fn closed() {
    let cluster = FakeCluster::start(2, 1, false).await;
    let driver = cluster.driver().await.unwrap();
    for number in 0..4 {
        put(&driver, &format!("a/{number}"), pattern(9 * MIB)).await.unwrap();
    }
    for number in 0..4 {
        driver.delete(&CallContext::default(), &path(&format!("a/{number}"))).await.unwrap();
    }
    driver.close(Duration::from_secs(60)).await;
    for node in &cluster.nodes {
        let disk = node.disk.lock().unwrap();
        assert!(disk.objects.values().all(|stored| stored.data.len() < 100_000));
    }
}

async fn one_wins() {
    let cluster = FakeCluster::start(3, 1, false).await;
    let mut writers = Vec::new();
    for number in 0..6 {
        let driver = cluster.driver().await.unwrap();
        writers.push(tokio::spawn(async move {
            let content = Bytes::from(format!("writer {number}"));
            let call = CallContext::default();
            let written = driver.put(&call, &path("a/one"), content.clone(), &Condition::IfAbsent).await;
            let listed =
                driver.put(&call, &path(&format!("a/{number}")), content.clone(), &Condition::Always).await;
            listed.unwrap();
            written.map(|_| content).map_err(|error| error.kind)
        }));
    }
    let mut winners = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            Ok(content) => winners.push(content),
            Err(kind) => assert_eq!(kind, ErrorKind::ConditionFailed),
        }
    }
    let driver = cluster.driver().await.unwrap();
    assert_eq!(winners, [content(&driver, "a/one").await]);
    let page = driver.list(&CallContext::default(), &ListRequest::below(Prefix::root())).await.unwrap();
    assert_eq!(page.entries.len(), 7, "no name got lost");
}

async fn counter() {
    let cluster = FakeCluster::start(3, 1, false).await;
    let first = cluster.driver().await.unwrap();
    put(&first, "counter", Bytes::from_static(b"0")).await.unwrap();
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut raisers = Vec::new();
    for _ in 0..3 {
        let driver = cluster.driver().await.unwrap();
        let is_over = Arc::clone(&is_over);
        raisers.push(tokio::spawn(async move {
            let (mut raised, mut unknown) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                let call = CallContext::with_timeout(Duration::from_secs(10));
                let Ok(read) = driver.get(&call, &path("counter"), 100).await else { continue };
                let value: u64 = std::str::from_utf8(&read.content).unwrap().parse().unwrap();
                let (next, tag) = (Bytes::from((value + 1).to_string()), read.info.etag.unwrap());
                match driver.put(&call, &path("counter"), next, &Condition::IfMatch(tag)).await {
                    Ok(_) => raised += 1,
                    Err(error) if error.outcome_unknown => unknown += 1,
                    Err(_) => {}
                }
            }
            (raised, unknown)
        }));
    }
    for number in 0..12 {
        let node = &cluster.nodes[number % 3];
        node.stop();
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..250))).await;
        node.start_again().await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..300))).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let (mut raised, mut unknown) = (0, 0);
    for raiser in raisers {
        let (one, other) = raiser.await.unwrap();
        raised += one;
        unknown += other;
    }
    let value: u64 = std::str::from_utf8(&content(&first, "counter").await).unwrap().parse().unwrap();
    assert!((raised..=raised + unknown).contains(&value), "{value} of {raised} and perhaps {unknown}");
    assert!(raised > 0);
}

async fn lost_answers() {
    let cluster = FakeCluster::start(2, 1, false).await;
    let driver = cluster.driver().await.unwrap();
    for node in &cluster.nodes {
        node.behaviour.lost_answers.store(4, Ordering::Relaxed);
    }
    let call = CallContext::default();
    let mut expected: Vec<(String, Vec<Bytes>)> = Vec::new();
    for number in 0..12 {
        let name = format!("a/{number}");
        let whole = pattern(9 * MIB + number);
        let condition = if number % 2 == 0 { Condition::IfAbsent } else { Condition::Always };
        let chunks: Vec<Bytes> = whole.chunks(MIB).map(Bytes::copy_from_slice).collect();
        let mut may_be = Vec::new();
        match driver.write(&call, &path(&name), None, byte_stream(chunks), &condition).await {
            Ok(_) => may_be.push(whole),
            Err(error) => assert!(error.outcome_unknown || error.retryable, "{error}"),
        }
        if number % 3 == 0 && !may_be.is_empty() {
            let copied = driver.copy(&call, &path(&name), &path(&format!("b/{number}"))).await;
            if copied.is_ok() {
                expected.push((format!("b/{number}"), may_be.clone()));
            }
        }
        if number % 4 == 1 && !may_be.is_empty() {
            let small = Bytes::from_static(b"small");
            match put(&driver, &name, small.clone()).await {
                Ok(()) => may_be = vec![small],
                Err(_) => may_be.push(small),
            }
        }
        if !may_be.is_empty() {
            expected.push((name, may_be));
        }
    }
    for node in &cluster.nodes {
        node.behaviour.lost_answers.store(0, Ordering::Relaxed);
    }
    // What is cleared away behind the scenes, and by a purge, is nothing that is needed.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let later = std::time::SystemTime::now() + Duration::from_secs(60);
    for upload in driver.list_uploads(&call, later, None, 1000).await.unwrap().uploads {
        // One that is being finished may refuse. What counts is what is there afterwards.
        let _ = driver.abort(&call, &upload.state).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(expected.len() > 4, "most writes come through");
    for (name, may_be) in expected {
        assert!(may_be.contains(&content(&driver, &name).await), "{name}");
    }
}

async fn tails() {
    let cluster = FakeCluster::start(3, 1, false).await;
    for node in &cluster.nodes {
        node.behaviour.keeps_tails.store(true, Ordering::Relaxed);
    }
    let driver = cluster.driver().await.unwrap();
    for size in [20_000, 10, 3 * MIB, 5_000, 0] {
        put(&driver, "a/b", pattern(size)).await.unwrap();
        assert_eq!(content(&driver, "a/b").await, pattern(size));
    }
    driver.delete(&CallContext::default(), &path("a/b")).await.unwrap();
    assert_eq!(driver.delete_tree(&CallContext::default(), &Prefix::root()).await.unwrap(), 0);
}
