//! Objects written whole and looked at.

use crate::{case::group, promise, store::Store};

group! {
    "objects":
    what_was_put_is_there =>
        "An object that was put is there with its size and content, whichever call looks.";
}

async fn what_was_put_is_there(store: Store) {
    for content in ["", "a longer content", "x"] {
        store.put("a/b/c", content).await;
        store.expect("a/b/c", content, promise::PUT).await;
    }
}
