//! Names: paths that differ are different objects, and come back byte for byte.
//!
//! What a registry cannot do without must be kept. Other names may be refused with `InvalidPath`, as long
//! as they are refused and not changed into something else.

use docker_registry_driver_api::{
    Condition, ErrorKind, ListRequest, MAX_PATH_BYTES, MAX_SEGMENT_BYTES, ReadRange, Stat,
};

use crate::{
    case::group,
    checks::{holds, ok, same},
    failure::shown,
    promise,
    store::{Store, call},
};

group! {
    "names":
    paths_of_registries_are_kept =>
        "Paths as registries make them, of letters, digits, `.`, `_`, `-`, `%` and `+`, are kept as they are.";
    every_printable_ascii_character_is_kept_or_refused =>
        "Objects and folders with each printable ASCII character at the beginning, inside and at the end.";
    upper_and_lower_case_differ =>
        "`Readme` and `readme` are two objects, and so are two folders.";
    names_that_look_alike_differ =>
        "Escapes, plus signs, dots, spaces and names with a meaning elsewhere stay what they are.";
    composed_and_decomposed_letters_differ =>
        "Unicode names come back unchanged or are refused; the two ways to write an accent are two names.";
    names_like_temporary_files_are_objects =>
        "A name that looks like a temporary, hidden or backup file is an object like others.";
    long_segments_are_kept_or_refused =>
        "Segments of 200 bytes are kept, those of up to 255 bytes kept or refused, never cut off.";
    long_paths_are_kept_or_refused =>
        "Paths of up to 1024 bytes are kept or refused, never cut off.";
    every_call_takes_odd_names =>
        "Uploads, copies, moves, listings and deletions take a name with odd characters as it is.";
}

/// Writes objects that must be kept and objects that may be refused, each with its own name in it. Then
/// exactly those that were not refused must be there, under their very names.
async fn expect_names(store: &Store, must: Vec<String>, may: Vec<String>) {
    store.put_all(&must).await;
    store.expect_below("", &must, promise::NAME_KEPT).await;
    let mut names = must;
    for name in may {
        if is_kept(store, &name).await {
            names.push(name);
        }
    }
    store.expect_below("", &names, promise::NAMES).await;
    for name in &names {
        store.expect(name, name.clone(), promise::NAMES).await;
    }
    // The cursor between two pages is a name as well.
    let request = ListRequest { limit: 2, ..ListRequest::below(store.folder("")) };
    store.expect_listing(request, &names, promise::NAMES).await;
}

/// Writes an object that may be refused, and says whether it was written.
pub(super) async fn is_kept(store: &Store, name: &str) -> bool {
    let put = store.driver.put(&call(), &store.path(name), name.to_owned().into(), &Condition::Always).await;
    if let Err(error) = &put {
        let what = format_args!("put of {name:?} succeeds or fails with InvalidPath");
        holds(error.kind == ErrorKind::InvalidPath, what, shown(error), promise::NAME_REFUSED);
    }
    put.is_ok()
}

fn owned<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

async fn paths_of_registries_are_kept(store: Store) {
    let digest = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c";
    let mut names = owned([
        "a",
        "2",
        "aa",
        "a.a",
        "0-9/abcdefg",
        "abcdefg/z.75",
        "abc/1.2.3.4.5-6_zyx/123.z/4",
        "docker/docker-registry",
        "123.abc",
        "abc./abc",
        ".abc",
        "a--b",
        "a-.b",
        "_.abc",
        "Docker/docker-registry",
        "Abc/Cba",
        // Registries of version 1 escape names twice.
        "images/0001/_inprogress",
        "images/0001/_checksum",
        "repositories/a/b%252Fc/tag_latest",
        "repositories/a/b%252Fc/taglatest_json",
        "repositories/sp%2Bace%2525/%252E%252E/_index_images",
        "repositories/library/x/tag_a+b",
    ]);
    for rest in ["_layers/sha256", "_manifests/revisions/sha256"] {
        names.push(format!("docker/v2/repositories/team/app__x/{rest}/{digest}/link"));
    }
    names.push(format!("docker/v2/blobs/sha256/b5/{digest}/data"));
    names.push("docker/v2/repositories/team/app__x/_manifests/tags/V1.0-rc_1/current/link".to_owned());
    expect_names(&store, names, Vec::new()).await;
}

async fn every_printable_ascii_character_is_kept_or_refused(store: Store) {
    let mut names = Vec::new();
    for character in (b' '..=b'~').map(char::from).filter(|character| *character != '/') {
        names.push(format!("objects/{character}a{character}b{character}"));
        names.push(format!("{character}f{character}/x"));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-%+".contains(&byte);
    let (must, may) = names.into_iter().partition(|name| name.bytes().all(is_plain));
    expect_names(&store, must, may).await;
}

async fn upper_and_lower_case_differ(store: Store) {
    let names = ["Readme", "readme", "README", "a/X/b", "a/x/b", "A/x/b", "a/X/B"];
    expect_names(&store, owned(names), Vec::new()).await;
    let deleted = store.driver.delete_tree(&call(), &store.folder("a/X")).await;
    same(ok(deleted, "delete_tree", promise::TREE), 2, "objects that went with a/X", promise::TREE_COUNT);
    store.expect_below("", &["Readme", "readme", "README", "a/x/b", "A/x/b"], promise::NAMES).await;
}

async fn names_that_look_alike_differ(store: Store) {
    let must = owned([
        "a%2Fb",
        "a%2fb",
        "a%252Fb",
        "a+b",
        "a%2Bb",
        "a%20b",
        "%",
        "%%",
        "%2e",
        "%2e%2e",
        "%00",
        "+",
        "..a",
        "...",
        "a..",
        "a.",
        ".a",
        "-",
        "--",
        "-rf",
        "_",
        "CON",
        "nul",
        "aux.txt",
        "index.html",
        "_id",
        "0",
        "00",
        "+0",
    ]);
    let may = owned([
        "a b", "~", "~a", "a~", " a", "a ", "a. ", "*", "?", "a?b=c", "a#b", "a&b", "a\\b", "a:b", "C:",
        "a;b", "'", "\"", "<a>", "a|b", "$HOME", "`id`", "{a}", "[a]", "a,b", "a=b", "a@b", "!", "(a)",
        "a^b",
    ]);
    expect_names(&store, must, may).await;
}

async fn composed_and_decomposed_letters_differ(store: Store) {
    let may = owned([
        "\u{e9}",
        "e\u{301}",
        "\u{c5}",
        "\u{212b}",
        "A\u{30a}",
        "\u{fb01}",
        "fi",
        "\u{df}",
        "SS",
        "ss",
        "\u{130}",
        "\u{131}",
        "i",
        "I",
        "\u{4e2d}\u{6587}/\u{fe0f}",
        "\u{1f433}",
        "\u{202e}abc",
        "a\u{200b}",
        "a\u{a0}b",
        "\u{3000}",
        "\u{feff}",
        "\u{10ffff}",
        "\u{ffff}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{391}",
        "\u{3b1}",
    ]);
    expect_names(&store, Vec::new(), may).await;
}

async fn names_like_temporary_files_are_objects(store: Store) {
    let must = owned([
        ".tmp",
        "tmp/a",
        "_tmp",
        "a.tmp",
        "tmp.0123456789abcdef",
        ".a.swp",
        "a.part",
        "a.lock",
        "lock",
        ".lock",
        "locks/a",
        ".nfs0001",
        ".upload",
        "uploads/a",
        ".git/a",
        ".DS_Store",
        "a.bak",
        "data",
        "record",
        "b/data",
        ".hidden/.hidden",
        ".multipart",
        ".metadata",
        ".minio.sys",
        "a_segments/00000001",
        ".locks/.a",
    ]);
    let may = owned(["a~", "#a#", "~$a", "a (copy)", "lost+found/a", "$RECYCLE.BIN/a"]);
    expect_names(&store, must, may).await;
}

async fn long_segments_are_kept_or_refused(store: Store) {
    let segment = |length: usize| "s".repeat(length);
    let must = vec![segment(199), segment(200), format!("f/{}/x", segment(200))];
    let mut may = Vec::new();
    for length in [201, 240, 254, MAX_SEGMENT_BYTES] {
        may.extend([segment(length), format!("f/{}/x", segment(length))]);
    }
    may.extend(["\u{e9}".repeat(110), "\u{e9}".repeat(MAX_SEGMENT_BYTES / 2)]);
    // Differs from another one in its last byte only.
    may.push(segment(MAX_SEGMENT_BYTES - 1) + "t");
    expect_names(&store, must, may).await;
}

async fn long_paths_are_kept_or_refused(store: Store) {
    // The length counts with the folder of the case in front.
    let path = |length: usize, last: &str| {
        let room = length - store.root().len() - "/".len() - last.len();
        let mut path = "folder/".repeat(room / "folder/".len());
        path.push_str(&"f".repeat(room - path.len()));
        path + last
    };
    let lengths = [300, 500, 800, 1000, MAX_PATH_BYTES - 1, MAX_PATH_BYTES];
    let may = lengths.iter().flat_map(|length| [path(*length, "x"), path(*length, "y")]).collect();
    expect_names(&store, Vec::new(), may).await;
}

async fn every_call_takes_odd_names(store: Store) {
    for odd in ["a%2Fb+c", "%", "..a", "a b+c %20", "?x=1&y#z", "\u{e9} e\u{301}", "a\\b:\"'<>|*"] {
        let (first, second) = (format!("{odd}/{odd}"), format!("{odd}/2 {odd}"));
        if !is_kept(&store, &first).await || !is_kept(&store, &second).await {
            continue;
        }
        let (one, other) = (store.path(&first), store.path(&second));
        ok(store.driver.copy(&call(), &one, &other).await, format_args!("copy of {odd:?}"), promise::COPY);
        store.expect(&second, first.clone(), promise::NAMES).await;
        ok(store.driver.delete(&call(), &one).await, format_args!("delete of {odd:?}"), promise::DELETE);
        store.expect_below(odd, &[&second], promise::NAMES).await;
        ok(
            store.driver.rename(&call(), &other, &one).await,
            format_args!("rename of {odd:?}"),
            promise::RENAME,
        );
        store.expect_children(odd, &[&first], promise::NAMES).await;
        let state = store.open_upload().await;
        let state = store.append(&state, 0, "uploaded").await;
        store.commit(&state, &second).await;
        store.expect(&second, "uploaded", promise::NAMES).await;
        let stat = store.eventually(|| store.stat(odd), Result::is_ok).await;
        same(ok(stat, "stat", promise::STAT), Stat::Folder, format_args!("stat of {odd:?}"), promise::NAMES);
        let reading = store.driver.read(&call(), &other, ReadRange::From { offset: 2 }).await;
        same(ok(reading, "read", promise::READ).length, 6, "bytes from 2 on", promise::READ_LENGTH);
        let many = store.driver.delete_many(&call(), std::slice::from_ref(&one)).await;
        let failures = ok(many, "delete_many", promise::DELETE_MANY);
        holds(failures.is_empty(), "no failures", format_args!("{failures:?}"), promise::DELETE_MANY);
        store.expect_below("", &[&second], promise::NAMES).await;
        let deleted =
            ok(store.driver.delete_tree(&call(), &store.folder(odd)).await, "delete_tree", promise::TREE);
        same(deleted, 1, format_args!("objects that went with {odd:?}"), promise::TREE_COUNT);
        store.expect_below::<&str>("", &[], promise::TREE).await;
    }
}
