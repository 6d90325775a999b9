use std::collections::BTreeMap;
use std::io::Read;

use super::*;

#[test]
fn patterns_leave_out_what_docker_leaves_out() {
    // pattern file, path, left out
    let table = [
        ("node_modules", "node_modules", true),
        ("node_modules", "node_modules/a/b", true),
        ("node_modules", "web/node_modules", false),
        ("**/node_modules", "web/node_modules/x", true),
        ("**/node_modules", "node_modules", true),
        ("/target", "target/debug", true),
        ("target/", "target", true),
        ("./target/../dist", "dist/x", true),
        ("*.log", "a.log", true),
        ("*.log", "logs/a.log", false),
        ("*/*.log", "logs/a.log", true),
        ("**/*.log", "a/b/c.log", true),
        ("a/**", "a/b/c", true),
        ("a/**", "a", false),
        ("a/**/z", "a/z", true),
        ("a/**/z", "a/b/c/z", true),
        ("?.txt", "a.txt", true),
        ("?.txt", "ab.txt", false),
        ("[a-c].txt", "b.txt", true),
        ("[^a-c].txt", "b.txt", false),
        ("[a-c.txt", "[a-c.txt", true),
        ("[]a].txt", "].txt", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("# comment\n\n  spaced  ", "spaced", true),
        ("*\n!keep", "keep", false),
        ("*\n!keep", "keep/inside", false),
        ("*\n!keep", "gone", true),
        ("*.md\n!README.md\nREADME.md", "README.md", true),
        ("!keep", "keep", false),
        ("**", "anything/at/all", true),
        ("a**b", "a/x/b", true),
        ("a**b", "axb", false),
        ("a**", "ab/c", true),
        ("docs/**.md", "docs/a.md", false),
        ("docs/**.md", "docs/x/.md", true),
        ("**.log", "x/a.log", true),
        ("**.lo?", "x/a.log", false),
        ("a.b", "axb", false),
        ("[!a]x", "!x", true),
        ("[!a]x", "bx", false),
        ("é?", "éü", true),
    ];
    for (file, path, out) in table {
        assert_eq!(Ignore::parse(file).unwrap().leaves_out(path), out, "{file:?} {path}");
    }
}

#[test]
fn a_folder_that_stays_out_is_looked_into_only_for_what_may_come_back() {
    // pattern file, folder, looked into
    let table = [
        ("*\n!src\n!package.json", "pgdata", false),
        ("*\n!src\n!package.json", "node_modules/a", false),
        ("*\n!src/app", "src", true),
        ("*\n!src/app", "srcs", false),
        ("*\n!./src//app/", "src", true),
        ("target\n!target/keep", "target", true),
        ("target\n!target/keep", "target/debug", false),
        ("*\n!src\nsrc/made", "src/made", false),
        ("*\n!*.md", "node_modules", false),
        ("*\n!*/*.md", "node_modules", true),
        ("*\n!*/*.md", "node_modules/a", false),
        ("*\n!docs/?/x", "docs/a", true),
        ("*\n!**/keep", "node_modules/a", true),
        ("*\n!a**b", "a/x", true),
        ("*\n![ab]/keep", "c", true),
        ("*\n!a\\*/keep", "a*", true),
        ("*", "src", false),
    ];
    for (file, folder, looked) in table {
        let ignore = Ignore::parse(file).unwrap();
        assert_eq!(ignore.may_take_back_below(folder), looked, "{file:?} {folder}");
    }
}

/// The files of a program at work: some are gone when their turn comes.
#[test]
fn what_goes_while_a_context_is_read_is_no_part_of_it() {
    struct Removes(Vec<String>);
    impl Sink for Removes {
        fn entry(&mut self, path: &Path, target: &str, _: &std::fs::Metadata) -> io::Result<()> {
            self.0.push(target.to_owned());
            if path.is_dir() {
                return std::fs::remove_dir_all(path);
            }
            // and everything that has not been looked at yet
            for name in ["b", "c"] {
                unless_gone(std::fs::remove_file(path.with_file_name(name)))?;
            }
            std::fs::File::open(path.with_file_name("b")).map(drop)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    std::fs::create_dir_all(folder.path().join("d/deep")).unwrap();
    let mut seen = Removes(Vec::new());
    Walk { out: &mut seen, ignore: Ignore::default(), only: None }.folder(folder.path(), "", "").unwrap();
    assert_eq!(seen.0, ["a", "d"]);
}

fn packed(folders: &[(PathBuf, String)], podman: bool) -> BTreeMap<String, String> {
    let mut bytes = Vec::new();
    pack("FROM scratch\n", folders, None, podman, &mut bytes).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let header = entry.header();
            let owner = format!("{}:{}", header.uid().unwrap(), header.gid().unwrap());
            let what = match header.entry_type() {
                tar::EntryType::Symlink => format!("-> {}", entry.link_name().unwrap().unwrap().display()),
                tar::EntryType::Directory => "folder".to_owned(),
                _ => {
                    let mut text = String::new();
                    entry.read_to_string(&mut text).unwrap();
                    text
                }
            };
            (path, format!("{owner} {}", what.trim_end()))
        })
        .collect()
}

#[test]
fn a_context_is_packed_without_what_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let site = folder.path().join("site");
    std::fs::create_dir_all(root.join("src/deep")).unwrap();
    std::fs::create_dir_all(root.join("target/debug")).unwrap();
    std::fs::create_dir_all(site.join("target")).unwrap();
    std::fs::write(root.join(".dockerignore"), "target\n!target/keep\n").unwrap();
    std::fs::write(root.join("src/deep/a"), "a").unwrap();
    std::fs::write(root.join("target/keep"), "kept").unwrap();
    std::fs::write(root.join("target/debug/big"), "big").unwrap();
    std::fs::write(site.join("target/index.html"), "hello").unwrap();
    std::os::unix::fs::symlink("deep/a", root.join("src/link")).unwrap();
    let got = packed(&[(root, String::new()), (site, "/srv/www/".to_owned())], false);
    let got: Vec<String> = got.iter().map(|(path, what)| format!("{path} {what}")).collect();
    insta::assert_snapshot!(got.join("\n"), @"
    .dockerignore 0:0 target
    !target/keep
    !srv/www
    .macula.Dockerfile
    .macula.Dockerfile 0:0 FROM scratch
    src/ 0:0 folder
    src/deep/ 0:0 folder
    src/deep/a 0:0 a
    src/link 0:0 -> deep/a
    srv/www/target/ 0:0 folder
    srv/www/target/index.html 0:0 hello
    target/keep 0:0 kept
    ");
}

#[test]
fn one_file_is_copied_under_its_new_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("moto.conf");
    std::fs::write(&file, "port 1").unwrap();
    let got = packed(&[(file.clone(), "etc/moto/server.conf".to_owned())], false);
    assert_eq!(got.get("etc/moto/server.conf").map(String::as_str), Some("0:0 port 1"));
    let listed = |only: Option<&[String]>| -> Vec<String> {
        let listed = entries(&file, "etc/server.conf", None, only).unwrap();
        listed.into_iter().map(|entry| entry.target).collect()
    };
    assert_eq!(listed(None), ["etc/server.conf"]);
    assert_eq!(listed(Some(&["etc".to_owned()])), ["etc/server.conf"]);
    assert!(listed(Some(&["src".to_owned()])).is_empty());
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let mut nothing = Vec::new();
    let error = pack("", &[(PathBuf::from("/no/such/folder"), String::new())], None, false, &mut nothing).unwrap_err();
    assert_eq!(error.to_string(), "/no/such/folder: No such file or directory (os error 2)");
}

#[test]
fn the_digest_is_of_what_a_build_would_send() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let digest = || ContextCache::default().digest(folder.path(), None).unwrap();
    write("Dockerfile", "FROM a\n");
    write(".dockerignore", "*.log\n");
    let first = digest();
    write("noise.log", "1");
    assert_eq!(digest(), first);
    // what macula writes beside the project's files
    write("Dockerfile", "FROM a\n");
    write("macula.yaml", "discover: true\n");
    write("macula-report-shop.tar", "");
    assert_eq!(digest(), first);
    write("Dockerfile", "FROM b\n");
    let second = digest();
    assert_ne!(second, first);
    write("Dockerfile", "FROM a\n");
    assert_eq!(digest(), first);
    std::fs::rename(folder.path().join("Dockerfile"), folder.path().join("Containerfile")).unwrap();
    assert!(![first, second].contains(&digest()));
    assert!(
        ContextCache::default()
            .digest(&folder.path().join("nowhere"), None)
            .unwrap_err()
            .to_string()
            .contains("nowhere")
    );
}

/// A backtracking matcher takes 14 s for this one.
#[test]
fn no_pattern_takes_long() {
    let begun = std::time::Instant::now();
    let ignore = Ignore::parse("*a*a*a*a*a*a*a*a*a*a*a*ab\n**/**/**/**/**/**/**/**/x\n").unwrap();
    assert!(!ignore.leaves_out(&"a".repeat(34)));
    assert!(!ignore.leaves_out(&"a/".repeat(60)));
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_known_file_is_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache/contexts.json");
    let context = folder.path().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("a"), "1").unwrap();
    let mut known = ContextCache::default();
    let first = known.digest(&context, None).unwrap();
    assert!(known.files.is_empty(), "a file that was just written may change within the same tick");

    // as it is a while later
    assert!(Stamp(1, 1, 0, 0, 0, 0).is_settled());
    let stamp = Stamp::of(&std::fs::metadata(context.join("a")).unwrap());
    known.files.insert(context.join("a"), Seen { stamp, digest: "known".to_owned() });
    known.files.insert(context.join("gone"), Seen { stamp: Stamp(0, 0, 0, 0, 0, 0), digest: String::new() });
    let second = known.digest(&context, None).unwrap();
    assert_ne!(first, second, "the digest comes from what is known");
    known.write(&cache).unwrap();

    let mut read = ContextCache::read(&cache);
    assert_eq!(read.files.keys().collect::<Vec<_>>(), [&context.join("a")]);
    assert_eq!(read.digest(&context, None).unwrap(), second);
    std::fs::write(context.join("a"), "22").unwrap();
    assert_ne!(read.digest(&context, None).unwrap(), second);
    // a cache that was cut off is an empty one
    std::fs::write(&cache, "{\"files\"").unwrap();
    assert!(ContextCache::read(&cache).files.is_empty());
}

#[test]
fn a_pattern_that_is_wrong_is_named() {
    let error = Ignore::parse("x\n[z-a]\n").unwrap_err();
    assert_eq!(error.to_string(), "`[z-a]` is not a valid pattern");
}

/// Where the user has no rules, ours say that they are not part of the context either.
#[test]
fn nothing_of_ours_comes_into_an_image() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "a").unwrap();
    let got = |podman| packed(&[(folder.path().to_owned(), String::new())], podman);
    assert_eq!(got(false)[".dockerignore"], "0:0 .dockerignore\n.macula.Dockerfile");
    assert_eq!(got(false).len(), 3);
    // Podman reads its own file of rules first, to which ours would not be added
    std::fs::write(folder.path().join(".containerignore"), "b\n").unwrap();
    let podman = got(true);
    assert_eq!(podman[".dockerignore"], "0:0 b\n.macula.Dockerfile");
    assert_eq!(podman.keys().collect::<Vec<_>>(), [".dockerignore", ".macula.Dockerfile", "a"]);
    assert_eq!(got(false)[".containerignore"], "0:0 b");
}
