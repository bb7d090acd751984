//! Listings against a model: what the contract says, computed from the paths.

use std::{collections::BTreeMap, sync::Arc};

use docker_registry_object_storage::{
    Engine,
    bucket::Limits,
    driver_api::{CallContext, ErrorKind, ListRequest, ObjectPath, Prefix, Stat},
};
use fastrand::Rng;
use libtest_mimic::Trial;

use crate::{fake_bucket::FakeBucket, small, trial, trial_on};

/// Listings of each kind that are compared.
const COMPARED: usize = 400;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("any listing is what the contract says", any_listing),
        trial_on(
            "any listing is what the contract says where the store has tokens only",
            Limits { list_after: false, ..small(Limits::s3()) },
            any_listing,
        ),
        trial("keys that are no paths are not listed and are no folders", async |bucket, engine| {
            for key in ["root/a/", "root/b//c", "root/d/x", "root/d/", "root/", "other/x"] {
                bucket.place(key, "");
            }
            assert_eq!(listed(&engine, "", true, None, 1000).await, ["d/x"]);
            assert_eq!(listed(&engine, "b", false, None, 1).await, [] as [&str; 0]);
            assert_eq!(listed(&engine, "d", false, None, 1).await, ["d/x"]);
            let stat = async |path| engine.stat(&CallContext::default(), &Prefix::new(path).unwrap()).await;
            assert_eq!(stat("a").await.unwrap_err().kind, ErrorKind::NotFound);
            assert_eq!(stat("b").await.unwrap_err().kind, ErrorKind::NotFound);
            assert_eq!(stat("d").await.unwrap(), Stat::Folder);
        }),
        trial(
            "the driver's own objects are hidden, and few requests pass them by",
            async |bucket, engine| {
                for number in 0..5_000 {
                    bucket.place(&format!("root/.docker-registry/uploads/{number:05}"), "");
                }
                bucket.place("root/.docker-registry-x", "");
                bucket.place("root/-before", "");
                bucket.place("root/behind", "");
                let before = bucket.calls();
                for limit in [1, 2, 1000] {
                    assert_eq!(listed(&engine, "", true, None, limit).await, ["-before", "behind"]);
                    assert_eq!(listed(&engine, "", false, None, limit).await, ["-before", "behind"]);
                }
                assert!(bucket.calls() - before < 40, "{} requests", bucket.calls() - before);
                assert_eq!(listed(&engine, ".docker-registry", true, None, 10).await, [] as [&str; 0]);
                let own = ObjectPath::new(".docker-registry-x").unwrap();
                let call = CallContext::default();
                assert_eq!(engine.head(&call, &own).await.unwrap_err().kind, ErrorKind::NotFound);
                let put = engine.put(&call, &own, "x".into(), &Default::default()).await;
                assert_eq!(put.unwrap_err().kind, ErrorKind::InvalidPath);
                // And emptying the store leaves them alone.
                assert_eq!(engine.delete_tree(&call, &Prefix::root()).await.unwrap(), 2);
                assert_eq!(bucket.keys().len(), 5_001);
            },
        ),
    ]
}

/// All entries, page by page.
async fn listed(
    engine: &Arc<Engine>,
    prefix: &str,
    recursive: bool,
    after: Option<String>,
    limit: u32,
) -> Vec<String> {
    let mut request = ListRequest { prefix: Prefix::new(prefix).unwrap(), recursive, after, limit };
    let mut entries = Vec::new();
    loop {
        let page = engine.list(&CallContext::default(), &request).await.expect("the listing succeeds");
        assert!(page.entries.len() <= limit as usize);
        entries.extend(page.entries.into_iter().map(|entry| entry.path));
        match page.next {
            Some(next) => {
                assert!(request.after.as_ref().is_none_or(|after| *after < next), "the cursor leads on");
                request.after = Some(next);
            }
            None => return entries,
        }
    }
}

/// What the contract says.
fn expected(paths: &BTreeMap<String, ()>, prefix: &str, recursive: bool, after: Option<&str>) -> Vec<String> {
    let start = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let mut entries: Vec<String> = paths
        .keys()
        .filter(|path| path.starts_with(&start))
        .map(|path| match path[start.len()..].find('/') {
            Some(end) if !recursive => path[..start.len() + end].to_owned(),
            _ => path.clone(),
        })
        .collect();
    entries.sort_unstable();
    entries.dedup();
    entries.retain(|path| after.is_none_or(|after| path.as_str() > after));
    entries
}

async fn any_listing(bucket: FakeBucket, engine: Arc<Engine>) {
    let mut random = Rng::with_seed(7);
    let mut paths = BTreeMap::new();
    for _ in 0..120 {
        let path = path(&mut random);
        // An object and a folder of one name are one entry.
        bucket.place(&format!("root/{path}"), "");
        paths.insert(path, ());
    }
    for _ in 0..COMPARED {
        let prefix = match random.u8(..3) {
            0 => String::new(),
            _ => path(&mut random).rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap_or_default(),
        };
        let after = match random.u8(..3) {
            0 => None,
            1 => Some(text(&mut random)),
            _ => Some(format!("{prefix}/{}", text(&mut random))),
        };
        for recursive in [false, true] {
            let limit = random.u32(1..6);
            let found = listed(&engine, &prefix, recursive, after.clone(), limit).await;
            let expected = expected(&paths, &prefix, recursive, after.as_deref());
            assert_eq!(found, expected, "prefix {prefix:?} recursive {recursive} after {after:?} by {limit}");
        }
    }
}

fn path(random: &mut Rng) -> String {
    let segments = (0..random.usize(1..4)).map(|_| segment(random)).collect::<Vec<_>>();
    segments.join("/")
}

/// Characters on both sides of `/`.
fn segment(random: &mut Rng) -> String {
    (0..random.usize(1..4)).map(|_| char::from(random.choice(*b"a-!0b").unwrap())).collect()
}

fn text(random: &mut Rng) -> String {
    (0..random.usize(..4)).map(|_| char::from(random.choice(*b"a-!0/b").unwrap())).collect()
}
