use std::path::Path;

use proptest::prelude::*;

use super::*;

fn tree(text: &str) -> Result<Node, String> {
    let mut report = Report::new(Path::new("/"));
    let file = report.file(Path::new("/x.yaml"));
    let node = parse(text, file, &mut report);
    let failed = report.has_errors();
    let (errors, _) = report.finish();
    match node {
        Some(node) if !failed => Ok(node),
        _ => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

/// The tree as JSON text, without places.
fn shown(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".into(),
        Value::Reset => "!reset".into(),
        Value::Text(text) => format!("{text:?}"),
        Value::List(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let pairs: Vec<_> = map.iter().map(|(key, entry)| format!("{key}: {}", shown(&entry.node))).collect();
            format!("{}{{{}}}", if node.replaces { "!override " } else { "" }, pairs.join(", "))
        }
        _ => node.scalar_text().unwrap_or_default(),
    }
}

#[test]
fn every_value_knows_its_place() {
    let root = tree("services:\n  web:\n    image: nginx\n    ports:\n      - 80\n").unwrap();
    let web = root.get("services").unwrap().get("web").unwrap();
    let image = web.as_map().unwrap().get("image").unwrap();
    assert_eq!((image.key.line, image.key.column), (3, 5));
    assert_eq!((image.node.span.line, image.node.span.column), (3, 12));
    let port = &web.items("ports")[0];
    assert_eq!((port.span.line, port.span.column), (5, 9));
}

#[test]
fn an_empty_value_has_the_place_of_its_key() {
    let root = tree("a:\n\nb: 1\n").unwrap();
    assert_eq!(root.as_map().unwrap().get("a").unwrap().node.span.line, 1);
}

#[test]
fn anchors_and_merge_keys_are_resolved() {
    let root =
        tree("x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: [*x, *y]\n  a: 0\nw: {<<: *y}\nv: *x\n").unwrap();
    insta::assert_snapshot!(shown(&root), @"{x: {a: 1, b: 2}, y: {b: 3, c: 4}, z: {a: 0, b: 2, c: 4}, w: {b: 3, c: 4}, v: {a: 1, b: 2}}");
}

#[test]
fn the_tags_of_compose_survive() {
    let root =
        tree("a: !reset [1, 2]\nb: !override {c: 1}\nd: !!str 5\ne: !mine 5\nf: !!float 5\ng: !reset\n").unwrap();
    insta::assert_snapshot!(shown(&root), @r#"{a: !reset, b: !override {c: 1}, d: "5", e: "5", f: 5, g: !reset}"#);
}

#[test]
fn a_quoted_merge_key_is_an_ordinary_one() {
    insta::assert_snapshot!(shown(&tree("'<<': 1\n").unwrap()), @"{<<: 1}");
}

#[test]
fn what_is_no_tree_is_told() {
    let all = [
        "a: 1\n---\nb: 2\n",
        "a: [1, 2\n",
        "a: &a [*a]\n",
        "a: *nobody\n",
        "x: &nope 1\na: *nopee\n",
        "? [1]\n: 2\n",
        "<<: 5\n",
        "a: 1\nb: 2\na: 3\n",
        ": 1\n",
        "a: !!int x\n",
    ]
    .map(|text| format!("{text:?}\n  {}", tree(text).unwrap_err()))
    .join("\n");
    insta::assert_snapshot!(all, @r#"
    "a: 1\n---\nb: 2\n"
      x.yaml:3:1: a second document begins here
        this file holds one document: remove the `---`, or make the second one a file of its own
    "a: [1, 2\n"
      x.yaml:1:4: this `[` is never closed
        the closing `]`, or a `,`, is missing before line 2
    "a: &a [*a]\n"
      x.yaml:1:8: the alias `*a` is inside the value it refers to
        remove it
    "a: *nobody\n"
      x.yaml:1:4: there is no anchor `nobody` above this line
        mark a value above this line with `&nobody`, or quote the text: "*nobody"
    "x: &nope 1\na: *nopee\n"
      x.yaml:2:4: there is no anchor `nopee` above this line
        did you mean `nope`?
    "? [1]\n: 2\n"
      x.yaml:1:3: a key must be text, not a list or a mapping
        use text as the key
    "<<: 5\n"
      x.yaml:1:5: `<<` takes a mapping or a list of mappings
        for example `<<: *defaults`, where `&defaults` marks a mapping
    "a: 1\nb: 2\na: 3\n"
      x.yaml:3:1: the key `a` is already used in this mapping
        it first appears in line 1: keep one of the two
    ": 1\n"
      x.yaml:1:1: a key is missing before this `:`
        write one, or quote the text
    "a: !!int x\n"
      x.yaml:1:4: `x` is tagged !!int, but is not one
        correct the value, or remove the tag
    "#);
}

/// What go-yaml takes, this takes: each file of this table was read by docker compose, too.
#[test]
fn real_files_are_read_as_compose_reads_them() {
    let all = [
        "a: [\n  x,\n]\n",
        "b:\n  a: [\n  x,\ny\n]\n",
        "b:\n  a: {\nx: 1,\n  y: 2\n}\n",
        "b:\n  a: \"x\ny\"\n",
        "b:\n  a: 'x\n y'\n",
        "a:\tx\n",
        "a: [\tx,\ty\t]\n",
        "a: [\n\tx,\n\ty\n\t]\n",
        "a: x\t\nb: y\t# c\n",
        "a: x\ty\n",
        "a: [-]\n",
        "a: [-, x, -y]\n",
        "a: {x:1, \"y\":2}\n",
        "a: [x:y, http://x/y]\n",
        "a: \"x\"#c\n",
        "a: {x, y: }\n",
        "a: [x\n  y, z]\n",
        "a: x\n  y\n",
        "a: |2-\n    x\n   y\n",
        "a: >\n  x\n  y\n\n  z\n",
        "a: |\n  x",
        "a: |+\n  x",
        "a:\n- x\n",
        "? x\n: y\n",
        "a:\r\n  b\r\n",
        "%YAML 1.2\n---\na: 1\n...\n",
        "x: &x 1\ny: &x 2\na: *x\n",
        "a: \"\\u00e9\\x41\"\n",
        "a: \u{1f389}\n",
    ]
    .map(|text| format!("{text:?}\n  {}", tree(text).map_or_else(|wrong| wrong, |node| shown(&node))))
    .join("\n");
    insta::assert_snapshot!(all, @r##"
    "a: [\n  x,\n]\n"
      {a: ["x"]}
    "b:\n  a: [\n  x,\ny\n]\n"
      {b: {a: ["x", "y"]}}
    "b:\n  a: {\nx: 1,\n  y: 2\n}\n"
      {b: {a: {x: 1, y: 2}}}
    "b:\n  a: \"x\ny\"\n"
      {b: {a: "x y"}}
    "b:\n  a: 'x\n y'\n"
      {b: {a: "x y"}}
    "a:\tx\n"
      {a: "x"}
    "a: [\tx,\ty\t]\n"
      {a: ["x", "y"]}
    "a: [\n\tx,\n\ty\n\t]\n"
      x.yaml:4:1: a tab cannot be used as indentation here
        indent with spaces, not with tabs
    "a: x\t\nb: y\t# c\n"
      {a: "x", b: "y"}
    "a: x\ty\n"
      {a: "x\ty"}
    "a: [-]\n"
      {a: ["-"]}
    "a: [-, x, -y]\n"
      {a: ["-", "x", "-y"]}
    "a: {x:1, \"y\":2}\n"
      {a: {x:1: null, y: 2}}
    "a: [x:y, http://x/y]\n"
      {a: ["x:y", "http://x/y"]}
    "a: \"x\"#c\n"
      {a: "x"}
    "a: {x, y: }\n"
      {a: {x: null, y: null}}
    "a: [x\n  y, z]\n"
      {a: ["x y", "z"]}
    "a: x\n  y\n"
      {a: "x y"}
    "a: |2-\n    x\n   y\n"
      {a: "  x\n y"}
    "a: >\n  x\n  y\n\n  z\n"
      {a: "x y\nz\n"}
    "a: |\n  x"
      {a: "x"}
    "a: |+\n  x"
      {a: "x"}
    "a:\n- x\n"
      {a: ["x"]}
    "? x\n: y\n"
      {x: "y"}
    "a:\r\n  b\r\n"
      {a: "b"}
    "%YAML 1.2\n---\na: 1\n...\n"
      {a: 1}
    "x: &x 1\ny: &x 2\na: *x\n"
      {x: 1, y: 2, a: 2}
    "a: \"\\u00e9\\x41\"\n"
      {a: "éA"}
    "a: 🎉\n"
      {a: "🎉"}
    "##);
}

/// The message names the fault, and stands where the fault is.
#[test]
fn what_is_not_yaml_is_named() {
    let all = [
        "a:\n  b: [x, y\n  c: 1\n",
        "a: {x: 1\n",
        "a: [x \"y\"]\n",
        "a: [x,,y]\n",
        "a: \"x\nb: 1\n",
        "a: 'x\n---\n",
        "a: \"x\\qy\"\n",
        "a: \"\\xzz\"\n",
        "a: x: y\n",
        "a: @x\n",
        "a: `x`\n",
        "a: %x\n",
        "a:\n\tb: 1\n",
        "a:\n  -\tx\n",
        "a: x\n\t\nb: 1\n",
        "a:\n  b: 1\n c: 2\n",
        "a:\n  - x\n  b: 1\n",
        "a: - x\n",
        "a\nb: 1\n",
        "a:\n  b\n  c: 1\n",
        "- *.js\n",
        "a: &\n",
        "a: 1\n]\n",
        "a: !x!y 1\n",
        "a: 'x' y\n",
        "a: x\u{0}\n",
        "a:\n  \u{7}\n",
    ]
    .map(|text| format!("{text:?}\n  {}", tree(text).map_or_else(|wrong| wrong, |node| shown(&node))))
    .join("\n");
    insta::assert_snapshot!(all, @r#"
    "a:\n  b: [x, y\n  c: 1\n"
      x.yaml:2:6: this `[` is never closed
        the closing `]`, or a `,`, is missing before line 3
    "a: {x: 1\n"
      x.yaml:1:4: this `{` is never closed
        the closing `}`, or a `,`, is missing before line 2
    "a: [x \"y\"]\n"
      {a: ["x \"y\""]}
    "a: [x,,y]\n"
      x.yaml:1:7: a value is missing before `,`
        write one, or quote the character if it is part of the text
    "a: \"x\nb: 1\n"
      x.yaml:1:4: this quote is never closed: "
        end the text with the same quote
    "a: 'x\n---\n"
      x.yaml:1:4: this quote is never closed: '
        end the text with the same quote
    "a: \"x\\qy\"\n"
      x.yaml:1:6: `\q` is not a valid escape in double quotes
        double the backslash, or use single quotes
    "a: \"\\xzz\"\n"
      x.yaml:1:7: this escape in double quotes is not valid
        write \xNN, \uNNNN or \UNNNNNNNN, or double the backslash
    "a: x: y\n"
      x.yaml:1:5: a `:` that begins a value is not allowed here
        quote the text if the colon is part of it; a new key needs a line of its own
    "a: @x\n"
      x.yaml:1:4: a value cannot begin with @
        put the value in quotes if it begins with this character
    "a: `x`\n"
      x.yaml:1:4: a value cannot begin with `
        put the value in quotes if it begins with this character
    "a: %x\n"
      x.yaml:1:4: a value cannot begin with %
        put the value in quotes if it begins with this character
    "a:\n\tb: 1\n"
      x.yaml:2:1: a tab cannot be used as indentation here
        indent with spaces, not with tabs
    "a:\n  -\tx\n"
      x.yaml:2:4: a tab cannot be used as indentation here
        indent with spaces, not with tabs
    "a: x\n\t\nb: 1\n"
      x.yaml:2:1: a tab cannot be used as indentation here
        indent with spaces, not with tabs
    "a:\n  b: 1\n c: 2\n"
      x.yaml:3:2: this does not belong to the mapping that begins in line 1
        its keys begin in column 1: check the indentation here and in the line above
    "a:\n  - x\n  b: 1\n"
      x.yaml:3:3: this does not belong to the list that begins in line 2
        its items begin with `- ` in column 3
    "a: - x\n"
      x.yaml:1:4: a list item (`- `) is not allowed here
        begin the list on the line below its key
    "a\nb: 1\n"
      x.yaml:2:2: a `:` that begins a value is not allowed here
        quote the text if the colon is part of it; a new key needs a line of its own
    "a:\n  b\n  c: 1\n"
      x.yaml:3:4: a `:` that begins a value is not allowed here
        quote the text if the colon is part of it; a new key needs a line of its own
    "- *.js\n"
      x.yaml:1:3: the name of an anchor or alias has only letters, digits, `-` and `_`
        quote the text if `&` or `*` is part of it, as in "*.js"
    "a: &\n"
      x.yaml:1:4: the name of an anchor or alias has only letters, digits, `-` and `_`
        quote the text if `&` or `*` is part of it, as in "*.js"
    "a: 1\n]\n"
      x.yaml:2:1: this `]` closes nothing
        remove it, or quote the text if it is part of it
    "a: !x!y 1\n"
      x.yaml:1:4: this tag is not declared
        remove it, or quote the text
    "a: 'x' y\n"
      x.yaml:1:8: this follows a value that has ended
        remove it, or put the whole value in one pair of quotes
    "a: x\0\n"
      x.yaml:1:5: a NUL byte is not allowed in YAML
        remove it, or write an escape in double quotes, as in "\x07"
    "a:\n  \u{7}\n"
      x.yaml:2:3: the character U+0007 is not allowed in YAML
        remove it, or write an escape in double quotes, as in "\x07"
    "#);
}

#[test]
fn a_message_has_the_line_it_is_about() {
    let mut report = Report::new(Path::new("/"));
    let file = report.file(Path::new("/x.yaml"));
    assert!(parse("a:\n  b: @x # c\n", file, &mut report).is_none());
    assert_eq!(report.finish().0[0].source.as_deref(), Some("  b: @x # c"));
}

#[test]
fn documents_are_read_one_by_one() {
    let mut report = Report::new(Path::new("/"));
    let file = report.file(Path::new("/x.yaml"));
    let read = documents("a: &x 1\n---\nb: 2\n---\n", file, &mut report).unwrap();
    assert_eq!(read.iter().map(shown).collect::<Vec<_>>(), ["{a: 1}", "{b: 2}", "null"]);
    // anchors end with their document
    assert!(documents("a: &x 1\n---\nb: *x\n", file, &mut report).is_none());
    assert!(documents("", file, &mut report).unwrap().is_empty());
}

#[test]
fn neither_depth_nor_aliases_grow_without_end() {
    let deep = "[".repeat(100) + &"]".repeat(100);
    insta::assert_snapshot!(tree(&deep).unwrap_err(), @"
    x.yaml:1:66: nested more than 64 levels deep
        no Compose file needs that many
    ");
    insta::assert_snapshot!(tree(&"[".repeat(5000)).unwrap_err(), @"
    x.yaml:1:66: nested more than 64 levels deep
        no Compose file needs that many
    ");
    let deep: String = (0..100).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    insta::assert_snapshot!(tree(&deep).unwrap_err(), @"
    x.yaml:66:66: nested more than 64 levels deep
        no Compose file needs that many
    ");
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    assert!(tree(&bomb).unwrap_err().contains("100000 values"));
}

#[test]
fn an_empty_file_is_null() {
    assert!(tree("").unwrap().is_null());
    assert!(tree("# only words\n").unwrap().is_null());
}

/// Text that looks like YAML more often than noise does.
fn yamlish() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b: ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "&x ",
        "*x",
        "<<: ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "'",
        "\"",
        "|\n",
        ">-\n",
        "!reset ",
        "!override ",
        "!!str ",
        "? ",
        ": ",
        "---\n",
        "...\n",
        "#",
        "1",
        "0x",
        "~",
        "%TAG ",
        "\t",
        "\u{feff}",
        "é",
        "\r\n",
        "\\",
        "@",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// A tree and the YAML that spells it.
fn spelled() -> impl Strategy<Value = (Value, String)> {
    let leaf = prop_oneof![
        Just((Value::Null, "null".to_owned())),
        any::<bool>().prop_map(|flag| (Value::Bool(flag), flag.to_string())),
        any::<i64>().prop_map(|number| (Value::Int(number), number.to_string())),
        (1u64 << 63..).prop_map(|number| (Value::Unsigned(number), number.to_string())),
        "[ -~]{0,12}".prop_map(|text| (Value::Text(text.clone()), serde_json::to_string(&text).unwrap())),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| {
                let text = items.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(", ");
                (
                    Value::List(items.into_iter().map(|(value, _)| Node::new(value, Span::default())).collect()),
                    format!("[{text}]"),
                )
            }),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4).prop_map(|items| {
                let text =
                    items.iter().map(|(key, (_, text))| format!("\"{key}\": {text}")).collect::<Vec<_>>().join(", ");
                let map = items
                    .into_iter()
                    .map(|(key, (value, _))| {
                        (key, Entry { key: Span::default(), node: Node::new(value, Span::default()) })
                    })
                    .collect();
                (Value::Map(map), format!("{{{text}}}"))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn noise_never_panics(text in any::<String>()) {
        let _ = tree(&text);
    }

    #[test]
    fn what_looks_like_yaml_never_panics(text in yamlish()) {
        let _ = tree(&text);
    }

    #[test]
    fn what_is_spelled_is_read((value, text) in spelled()) {
        let node = tree(&text).map_err(TestCaseError::fail)?;
        prop_assert_eq!(node.value, value);
    }
}
