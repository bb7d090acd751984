//! What a connection says of requests that did not come through.

use super::*;

fn waiting(shared: &Shared) -> usize {
    shared.lock().as_ref().map_or(0, HashMap::len)
}

#[tokio::test]
async fn what_is_said_not_to_have_been_sent_never_is() {
    let shared = Shared::new();
    let (done, _told) = oneshot::channel();
    shared.wait_for(1, 0, done).unwrap();
    assert!(!shared.withdraw(1), "it waited in the queue");
    // The writer sends what is waited for only.
    assert_eq!(waiting(&shared), 0);
    let (done, _told) = oneshot::channel();
    shared.wait_for(2, 0, done).unwrap();
    shared.lock().as_mut().unwrap().get_mut(&2).unwrap().is_sent = true;
    assert!(shared.withdraw(2));
    shared.end("over");
    assert!(shared.withdraw(3), "nobody knows any more");
}

#[tokio::test]
async fn a_question_that_found_no_place_in_the_queue_is_not_owed() {
    let shared = Shared::new();
    let (outgoing, mut packets) = mpsc::channel(1);
    shared.probe(&outgoing);
    assert_eq!(waiting(&shared), 1);
    shared.probe(&outgoing);
    assert_eq!(waiting(&shared), 1, "the queue was full");
    assert!(packets.recv().await.is_some());
}
