//! Listings: byte order, pages, cursors.

use docker_registry_driver_api::ListRequest;

use crate::subject::{
    Store, all_below, all_children, append, call, commit, open_upload, pages, path, prefix, put,
};

on_both_drivers!(
    awkward_names_come_in_byte_order,
    many_entries_come_in_pages,
    a_cursor_need_not_exist,
    entries_carry_their_facts,
    nothing_is_listed_before_commit,
);

const AWKWARD: [&str; 12] = [
    "a/b",
    "a/b-c/d",
    "a/b.c",
    "a/b/c",
    "a-b",
    "a.b/x",
    "a.b0",
    "ab",
    "a\u{10ffff}",
    "\u{e9}/x",
    "~",
    " x/y",
];

async fn awkward_names_come_in_byte_order(store: Store) {
    // An object cannot have the name of a folder.
    let names = AWKWARD.into_iter().filter(|name| *name != "a/b");
    let mut expected: Vec<&str> = names.collect();
    for name in &expected {
        put(&store, &format!("root/{name}"), "x").await;
    }
    expected.sort_unstable();
    let expected: Vec<String> = expected.into_iter().map(|name| format!("root/{name}")).collect();
    // A neighbour whose name only begins alike.
    put(&store, "root-2/x", "x").await;
    for limit in [1, 2, 3, 1000] {
        assert_eq!(all_below(&store, "root", limit).await, expected);
        let children = ["root/ x", "root/a", "root/a-b", "root/a.b", "root/a.b0", "root/ab"];
        let children = children.into_iter().chain(["root/a\u{10ffff}", "root/~", "root/\u{e9}"]);
        let mut children: Vec<&str> = children.collect();
        children.sort_unstable();
        assert_eq!(all_children(&store, "root", limit).await, children);
        assert_eq!(all_children(&store, "root/a", limit).await, ["root/a/b", "root/a/b-c", "root/a/b.c"]);
        assert_eq!(all_children(&store, "", limit).await, ["root", "root-2"]);
    }
}

async fn many_entries_come_in_pages(store: Store) {
    let mut expected = Vec::new();
    for number in 0..2_500_u32 {
        // Folders and objects side by side, also such that share their beginnings.
        let name = match number % 3 {
            0 => format!("many/{}", number * 7919 % 2503),
            1 => format!("many/{}-x", number * 7919 % 2503),
            _ => format!("many/{}.d/{number}", number * 7919 % 2503),
        };
        expected.push(name);
    }
    let writers: Vec<_> = expected
        .chunks(313)
        .map(|names| {
            let (store, names) = (store.clone(), names.to_vec());
            tokio::spawn(async move {
                for name in names {
                    put(&store, &name, "x").await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    expected.sort_unstable();
    assert_eq!(all_below(&store, "many", 1000).await, expected);
    assert_eq!(all_below(&store, "", 97).await, expected);
    let mut children: Vec<String> = expected
        .iter()
        .map(|path| format!("many/{}", path["many/".len()..].split('/').next().unwrap()))
        .collect();
    children.sort_unstable();
    children.dedup();
    assert_eq!(all_children(&store, "many", 1000).await, children);
    assert_eq!(all_children(&store, "many", 97).await, children);
}

async fn a_cursor_need_not_exist(store: Store) {
    for name in ["a/b", "a/d/e", "a/f"] {
        put(&store, name, "x").await;
    }
    let after = |after: &str, recursive| {
        let store = store.clone();
        let after = Some(after.to_owned());
        async move { pages(&store, ListRequest { recursive, after, ..ListRequest::children(prefix("a")) }).await }
    };
    for (cursor, below, children) in [
        ("", &["a/b", "a/d/e", "a/f"][..], &["a/b", "a/d", "a/f"][..]),
        ("a/", &["a/b", "a/d/e", "a/f"], &["a/b", "a/d", "a/f"]),
        ("a/b", &["a/d/e", "a/f"], &["a/d", "a/f"]),
        ("a/c", &["a/d/e", "a/f"], &["a/d", "a/f"]),
        ("a/d", &["a/d/e", "a/f"], &["a/f"]),
        ("a/d/a", &["a/d/e", "a/f"], &["a/f"]),
        ("a/d/e", &["a/f"], &["a/f"]),
        ("a/d/z", &["a/f"], &["a/f"]),
        ("a/f", &[], &[]),
        ("b", &[], &[]),
        ("A", &["a/b", "a/d/e", "a/f"], &["a/b", "a/d", "a/f"]),
    ] {
        assert_eq!(after(cursor, true).await, below, "below, after {cursor:?}");
        assert_eq!(after(cursor, false).await, children, "children, after {cursor:?}");
    }
}

async fn entries_carry_their_facts(store: Store) {
    put(&store, "a/b", "12345").await;
    put(&store, "a/c/d", "1").await;
    let page = store.list(&call(), &ListRequest::children(prefix("a"))).await.unwrap();
    let info = store.head(&call(), &path("a/b")).await.unwrap();
    let [object, folder] = page.entries.as_slice() else { panic!("{page:?}") };
    let listed = object.object.clone().unwrap();
    assert_eq!((listed.size, listed.modified), (5, info.modified));
    assert_eq!((folder.path.as_str(), &folder.object), ("a/c", &None));
    assert_eq!(page.next, None);
}

async fn nothing_is_listed_before_commit(store: Store) {
    let state = open_upload(&store).await;
    let state = append(&store, &state, 0, "content").await;
    assert!(all_below(&store, "", 10).await.is_empty());
    assert!(all_children(&store, "", 10).await.is_empty());
    commit(&store, &state, "a/b").await;
    assert_eq!(all_below(&store, "", 10).await, ["a/b"]);
}
