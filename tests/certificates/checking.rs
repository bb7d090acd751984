//! `cert check`: what is good, and every sentence of refusal.

use super::Workbench;

/// A self-signed certificate as openssl makes it, with these further arguments.
fn self_signed(bench: &Workbench, arguments: &str) {
    bench.openssl(&format!(
        "req -x509 -nodes -subj /CN=registry.example.com -keyout r.key -out r.crt {arguments}"
    ));
}

const ECDSA: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";
const NAMES: &str = "-addext subjectAltName=DNS:registry.example.com,IP:10.0.0.5";

#[test]
fn the_certificate_that_guides_of_2014_made_is_refused_in_one_sentence_with_every_reason() {
    let bench = Workbench::new();
    bench.openssl("genrsa -out r.key 1024");
    bench.openssl("req -new -key r.key -subj /CN=docker-internal.example.com -out r.csr");
    bench.openssl("x509 -req -days 365 -in r.csr -signkey r.key -out r.crt");
    assert!(bench.openssl("x509 -in r.crt -noout -text").contains("Version: 1"), "openssl made version 1");

    let sentence = bench.refused("r.crt --key r.key");
    for expected in [
        "r.crt cannot be used as the certificate of a server",
        "X.509 version 1",
        "RSA key has 1024 bits and must have 2048 or more",
        "no subjectAltName",
        "`docker-registry cert new docker-internal.example.com` makes a good one",
    ] {
        assert!(sentence.contains(expected), "{expected} is not in: {sentence}");
    }
}

#[test]
fn each_weakness_alone_is_refused_by_its_name() {
    let bench = Workbench::new();
    let small = format!("-newkey rsa:1536 {NAMES}");
    let md5 = format!("-newkey rsa:2048 -md5 {NAMES}");
    let sha1 = format!("{ECDSA} -sha1 {NAMES}");
    let client = format!("{ECDSA} {NAMES} -addext extendedKeyUsage=clientAuth");
    let curve = format!("-newkey ec -pkeyopt ec_paramgen_curve:secp256k1 {NAMES}");
    for (arguments, expected) in [
        (ECDSA, "it has no subjectAltName"),
        (
            "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -addext subjectAltName=email:a@example.com",
            "no subjectAltName",
        ),
        (&small, "its RSA key has 1536 bits"),
        (&md5, "signed with MD5"),
        (&sha1, "signed with SHA-1"),
        (&client, "not say that it is for servers (serverAuth)"),
        (&curve, "its key is none of"),
    ] {
        self_signed(&bench, arguments);
        let sentence = bench.refused("r.crt");
        assert!(sentence.contains(expected), "{expected} is not in: {sentence}");
        assert!(
            !sentence.contains(", it") && !sentence.contains("version"),
            "nothing else is wrong: {sentence}"
        );
        assert!(sentence.contains("`docker-registry cert new registry.example.com`"), "{sentence}");
    }
}

#[test]
fn every_usual_key_in_every_usual_form_is_good() {
    let bench = Workbench::new();
    for kind in [
        ECDSA,
        "-newkey ec -pkeyopt ec_paramgen_curve:P-384",
        "-newkey ec -pkeyopt ec_paramgen_curve:P-521",
        "-newkey ed25519",
        "-newkey rsa:2048",
    ] {
        self_signed(&bench, &format!("{kind} {NAMES}"));
        let said = bench.accepted("r.crt --key r.key");
        assert!(said.contains("for registry.example.com, 10.0.0.5, until 20"), "{said}");
    }
    // The last one is RSA.
    bench.openssl("pkey -in r.key -traditional -out pkcs1.key");
    assert!(bench.read("pkcs1.key").contains("BEGIN RSA PRIVATE KEY"));
    bench.accepted("r.crt --key pkcs1.key");
    self_signed(&bench, &format!("{ECDSA} {NAMES}"));
    bench.openssl("pkey -in r.key -traditional -out sec1.key");
    assert!(bench.read("sec1.key").contains("BEGIN EC PRIVATE KEY"));
    bench.accepted("r.crt --key sec1.key");
    // As `openssl ecparam -genkey` writes it, and with the text that `openssl x509 -text` puts before it.
    bench.write("parameters.key", bench.openssl("ecparam -name prime256v1") + &bench.read("sec1.key"));
    bench.openssl("x509 -in r.crt -text -out text.crt");
    bench.accepted("text.crt --key parameters.key");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let bench = Workbench::new();
    self_signed(&bench, &format!("{ECDSA} {NAMES}"));
    for other in ["genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256", "genpkey -algorithm rsa"] {
        bench.openssl(&format!("{other} -out other.key"));
        let sentence = bench.refused("r.crt --key other.key");
        assert!(sentence.contains("other.key does not belong to the certificate in r.crt"), "{sentence}");
    }
    bench.openssl("genpkey -algorithm ec -pkeyopt ec_paramgen_curve:secp256k1 -out odd.key");
    assert!(bench.refused("r.crt --key odd.key").contains("odd.key is no key that can be used here"));
}

#[test]
fn an_encrypted_key_is_refused_in_both_forms() {
    let bench = Workbench::new();
    self_signed(&bench, &format!("-newkey rsa:2048 {NAMES}"));
    bench.openssl("pkey -in r.key -aes256 -passout pass:secret -out pkcs8.key");
    bench.openssl("rsa -in r.key -aes256 -passout pass:secret -traditional -out pkcs1.key");
    assert!(bench.read("pkcs1.key").contains("Proc-Type: 4,ENCRYPTED"));
    for key in ["pkcs8.key", "pkcs1.key"] {
        let sentence = bench.refused(&format!("r.crt --key {key}"));
        assert!(sentence.contains(&format!("{key} is encrypted")), "{sentence}");
        assert!(sentence.contains(&format!("`openssl pkey -in {key} -out {key}.plain`")), "{sentence}");
    }
}

#[test]
fn a_key_in_the_certificate_file_is_refused_and_never_shown() {
    let bench = Workbench::new();
    self_signed(&bench, &format!("{ECDSA} {NAMES}"));
    bench.write("both.pem", bench.read("r.crt") + &bench.read("r.key"));
    let sentence = bench.refused("both.pem");
    assert!(sentence.contains("both.pem holds a private key beside the certificate"), "{sentence}");
    let secret = bench.read("r.key").lines().nth(1).expect("a line of the key").to_owned();
    assert!(!sentence.contains(&secret));
    // The other way round it is harmless.
    bench.accepted("r.crt --key both.pem");
}

#[test]
fn files_that_are_something_else_are_named_for_what_they_are() {
    let bench = Workbench::new();
    self_signed(&bench, &format!("{ECDSA} {NAMES}"));
    bench.openssl("x509 -in r.crt -outform der -out binary.crt");
    bench.openssl("pkey -in r.key -outform der -out binary.key");
    bench.openssl("req -new -key r.key -subj /CN=a -out request.csr");
    bench.openssl("pkcs12 -export -in r.crt -inkey r.key -passout pass:secret -out store.p12");
    bench.write("empty.crt", "\n \n");
    bench.write("text.crt", "registry.example.com\n");
    bench.write("junk.crt", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
    let certificate = bench.read("r.crt");
    bench.write("cut.crt", &certificate[..certificate.len() / 2]);
    bench.write("second-cut.crt", format!("{certificate}{}", &certificate[..certificate.len() / 2]));
    bench.write("large.crt", vec![b'a'; (1 << 20) + 1]);
    for (arguments, expected) in [
        ("binary.crt", "`openssl x509 -inform der -in binary.crt -out binary.crt.pem`"),
        ("r.crt --key binary.key", "`openssl pkey -inform der -in binary.key -out binary.key.pem`"),
        ("request.csr", "holds no certificate but `CERTIFICATE REQUEST`"),
        ("r.crt --key r.crt", "r.crt holds no private key but `CERTIFICATE`"),
        ("r.key", "r.key holds a private key"),
        ("store.p12", "store.p12 is no PEM file"),
        ("empty.crt", "empty.crt is empty"),
        ("r.crt --key empty.crt", "empty.crt is empty"),
        ("text.crt", "text.crt is no PEM file"),
        ("junk.crt", "certificate 1 in it cannot be read as X.509"),
        ("cut.crt", "cut.crt is damaged"),
        ("second-cut.crt", "second-cut.crt is damaged"),
        ("large.crt", "larger than 1 MiB"),
        ("missing.crt", "missing.crt cannot be read: No such file"),
        ("/dev/zero", "/dev/zero cannot be read: it is no file"),
    ] {
        let sentence = bench.refused(arguments);
        assert!(sentence.contains(expected), "{expected} is not in: {sentence}");
    }
}

/// An authority `ca`, and `leaf` issued by it.
fn chain(bench: &Workbench, leaf: &str) {
    bench.openssl(&format!("req -x509 -nodes {ECDSA} -subj /CN=Authority -keyout ca.key -out ca.crt"));
    bench.openssl(&format!(
        "req -nodes {ECDSA} -subj /CN=registry.example.com -keyout leaf.key -out leaf.csr"
    ));
    bench.write("names", "subjectAltName=DNS:registry.example.com\n");
    bench.openssl(&format!(
        "x509 -req -in leaf.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -out leaf.crt {leaf}"
    ));
}

#[test]
fn a_chain_begins_with_the_servers_own_certificate() {
    let bench = Workbench::new();
    chain(&bench, "-days 365");
    bench.write("chain.crt", bench.read("leaf.crt") + &bench.read("ca.crt"));
    assert!(!bench.accepted("chain.crt --key leaf.key").contains("warning"));

    // An authority's own certificate must not become the server's by an accident of order.
    self_signed(&bench, &format!("{ECDSA} {NAMES}"));
    bench.write("reversed.crt", bench.read("r.crt") + &bench.read("leaf.crt"));
    let sentence = bench.refused("reversed.crt --key leaf.key");
    assert!(sentence.contains("is number 2 in it and must be the first"), "{sentence}");
}

#[test]
fn a_gap_in_the_chain_is_a_warning() {
    let bench = Workbench::new();
    chain(&bench, "-days 365");
    self_signed(&bench, &format!("{ECDSA} {NAMES}"));
    bench.write("gap.crt", bench.read("leaf.crt") + &bench.read("r.crt"));
    let said = bench.accepted("gap.crt --key leaf.key");
    assert!(said.contains("warning: gap.crt: certificate 1 was not issued by the one after it"), "{said}");
}

#[test]
fn dates_are_judged_and_the_end_is_announced_a_month_before() {
    let bench = Workbench::new();
    bench.cert("new a.example.com --days 29");
    let said = bench.accepted("registry.crt");
    assert!(said.contains("warning: the certificate in registry.crt ends on 20"), "{said}");
    bench.cert("new a.example.com --days 31 --force");
    assert!(!bench.accepted("registry.crt").contains("warning"));

    chain(&bench, "-days 1");
    bench.write("index", "");
    bench.write("serial", "01");
    bench.write(
        "ca.cnf",
        "[ca]\ndefault_ca=one\n[one]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\n\
         policy=any\nunique_subject=no\n[any]\ncommonName=supplied\n",
    );
    for (dates, expected) in [
        ("-startdate 20190101000000Z -enddate 20200102000000Z", "has ended on 2020-01-02"),
        ("-startdate 21190101000000Z -enddate 21200101000000Z", "is not valid before 2119-01-01"),
    ] {
        bench.openssl(&format!(
            "ca -batch -config ca.cnf -cert ca.crt -keyfile ca.key -in leaf.csr -extfile names -out dated.crt -notext {dates}"
        ));
        let sentence = bench.refused("dated.crt --key leaf.key");
        assert!(sentence.contains(expected), "{expected} is not in: {sentence}");
    }
}
