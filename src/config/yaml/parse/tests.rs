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
        one file holds one document: take the `---` away, or make it a file of its own
    "a: [1, 2\n"
      x.yaml:2:1: this is not valid YAML: while parsing a flow sequence, expected ',' or ']'
        look at the indentation, the quotes and the brackets of this line and the one above
    "a: &a [*a]\n"
      x.yaml:1:8: this alias stands inside the value it refers to
    "a: *nobody\n"
      x.yaml:1:4: this is not valid YAML: while parsing node, found unknown anchor
        look at the indentation, the quotes and the brackets of this line and the one above
    "? [1]\n: 2\n"
      x.yaml:1:3: a key must be text, not a list or a mapping
    "<<: 5\n"
      x.yaml:1:5: `<<` takes a mapping or a list of mappings
    "a: 1\nb: 2\na: 3\n"
      x.yaml:3:1: the key `a` stands here a second time
        it stands first in line 1: keep one of the two
    ": 1\n"
      x.yaml:1:1: a key is missing here
    "a: !!int x\n"
      x.yaml:1:4: `x` is tagged !!int, and is none
    "#);
}

#[test]
fn neither_depth_nor_aliases_grow_without_end() {
    let deep = "[".repeat(100) + &"]".repeat(100);
    insta::assert_snapshot!(tree(&deep).unwrap_err(), @"x.yaml:1:66: nested more than 64 deep");
    insta::assert_snapshot!(tree(&"[".repeat(5000)).unwrap_err(), @r"
    x.yaml:1:256: this is not valid YAML: recursion limit exceeded
        look at the indentation, the quotes and the brackets of this line and the one above
    ");
    let deep: String = (0..100).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    insta::assert_snapshot!(tree(&deep).unwrap_err(), @"x.yaml:66:66: nested more than 64 deep");
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
