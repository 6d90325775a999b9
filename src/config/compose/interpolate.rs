//! `$X`, `${X}` and its six operators, as Compose reads them
//! (<https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md>).

use std::collections::BTreeMap;

use crate::config::yaml::{Node, Report, Value};

/// How deep `${A:-${B:-...}}` may nest.
const MAX_NESTING: usize = 32;

/// Variables by name.
pub(in crate::config) type Variables = BTreeMap<String, String>;

/// Why a text does not interpolate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct InterpolationError {
    pub(in crate::config) message: String,
    pub(in crate::config) help: String,
    /// The message shows a part of the text itself.
    pub(in crate::config) quotes: bool,
}

/// Replaces every `$` form in `text`. `unset` takes the names that have no value and no default.
pub(in crate::config) fn interpolate(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &mut Vec<String>,
) -> Result<String, InterpolationError> {
    expand(text, lookup, unset, 0)
}

/// Interpolates every text below a node; keys stay as they are.
pub(in crate::config) fn interpolate_tree(node: &mut Node, variables: &Variables, report: &mut Report) {
    let span = node.span;
    match &mut node.value {
        Value::Text(text) if text.contains('$') => {
            let mut unset = Vec::new();
            match interpolate(text, &|name| variables.get(name).cloned(), &mut unset) {
                Ok(done) => *text = done,
                Err(error) => report.error_help(span, error.message, error.help),
            }
            for name in unset {
                report.warn(
                    span,
                    format!("the variable {name} is not set; it counts as empty"),
                    format!("set it, or give it a default: ${{{name}:-value}}"),
                );
            }
        }
        Value::List(list) => list.iter_mut().for_each(|node| interpolate_tree(node, variables, report)),
        Value::Map(map) => map.values_mut().for_each(|entry| interpolate_tree(&mut entry.node, variables, report)),
        _ => {}
    }
}

fn name_length(text: &str) -> usize {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    match text.bytes().next() {
        Some(byte) if first(byte) => text.bytes().take_while(|byte| first(*byte) || byte.is_ascii_digit()).count(),
        _ => 0,
    }
}

/// The index of the brace that closes the one which `text` stands behind.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1usize;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

fn invalid(text: &str) -> InterpolationError {
    let shown: String = text.chars().take(40).collect();
    InterpolationError {
        message: format!("`{shown}` is not a valid variable"),
        help: "write ${NAME}, ${NAME:-default} or ${NAME:?message}; a dollar sign itself is $$".to_owned(),
        quotes: true,
    }
}

fn expand(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &mut Vec<String>,
    depth: usize,
) -> Result<String, InterpolationError> {
    if depth > MAX_NESTING {
        return Err(InterpolationError {
            message: format!("variables nest more than {MAX_NESTING} deep"),
            help: "name the inner default in a variable of its own".to_owned(),
            quotes: false,
        });
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let after = from.get(1..).unwrap_or_default();
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = closing(inner).ok_or_else(|| invalid(from))?;
            let (body, tail) = inner.split_at(end);
            out.push_str(&braced(body, lookup, unset, depth)?);
            rest = tail.get(1..).unwrap_or_default();
        } else {
            let length = name_length(after);
            if length == 0 {
                // `$1`, `$/` and a `$` at the end mean themselves
                out.push('$');
                rest = after;
            } else {
                let (name, tail) = after.split_at(length);
                out.push_str(&plain(name, lookup, unset));
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn plain(name: &str, lookup: &dyn Fn(&str) -> Option<String>, unset: &mut Vec<String>) -> String {
    lookup(name).unwrap_or_else(|| {
        unset.push(name.to_owned());
        String::new()
    })
}

fn braced(
    body: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &mut Vec<String>,
    depth: usize,
) -> Result<String, InterpolationError> {
    let (name, operator) = body.split_at(name_length(body));
    if name.is_empty() {
        return Err(invalid(&format!("${{{body}}}")));
    }
    if operator.is_empty() {
        return Ok(plain(name, lookup, unset));
    }
    let (or_empty, operator) = match operator.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, operator),
    };
    let mut letters = operator.chars();
    let kind = letters.next();
    let word = letters.as_str();
    let value = lookup(name);
    let present = value.as_ref().is_some_and(|value| !or_empty || !value.is_empty());
    match kind {
        Some('-') if present => Ok(value.unwrap_or_default()),
        Some('-') => expand(word, lookup, unset, depth + 1),
        Some('+') if present => expand(word, lookup, unset, depth + 1),
        Some('+') => Ok(value.unwrap_or_default()),
        Some('?') if present => Ok(value.unwrap_or_default()),
        Some('?') => {
            let reason = expand(word, lookup, unset, depth + 1)?;
            let what = if value.is_some() { "is empty" } else { "is not set" };
            let message = if reason.is_empty() {
                format!("the variable {name} {what}")
            } else {
                format!("the variable {name} {what}: {reason}")
            };
            Err(InterpolationError {
                message,
                help: format!("set {name} in the environment or in .env next to the file"),
                quotes: false,
            })
        }
        _ => Err(invalid(&format!("${{{body}}}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(text: &str) -> String {
        let variables: BTreeMap<&str, &str> = [("A", "a"), ("E", ""), ("N", "A")].into();
        let mut unset = Vec::new();
        match interpolate(text, &|name| variables.get(name).map(ToString::to_string), &mut unset) {
            Ok(done) if unset.is_empty() => done,
            Ok(done) => format!("{done} (unset: {})", unset.join(" ")),
            Err(error) => format!("error: {}", error.message),
        }
    }

    #[test]
    fn every_form_means_what_compose_says() {
        let forms = [
            "$A",
            "${A}",
            "x$A-y",
            "$$A",
            "$${A}",
            "$",
            "$1",
            "a$",
            "$U",
            "${U}",
            "${U:-d}",
            "${U-d}",
            "${E:-d}",
            "${E-d}",
            "${A:-d}",
            "${U:?no}",
            "${U?no}",
            "${E:?no}",
            "${E?no}",
            "${U:?}",
            "${A:?no}",
            "${A:+r}",
            "${A+r}",
            "${E:+r}",
            "${E+r}",
            "${U:+r}",
            "${U+r}",
            "${U:-${A}}",
            "${U:-${V:-${A}b}c}d",
            "${U:-{\"x\":{\"y\":1}}}",
            "${A}/${N}",
            "${U:-a:-b}",
            "${U:-$$}",
            "${U:?${A} is wanted}",
            "${}",
            "${1}",
            "${A",
            "${A!}",
            "${A:}",
            "${U:-}",
        ];
        let all: Vec<String> = forms.iter().map(|form| format!("{form} -> {}", run(form))).collect();
        insta::assert_snapshot!(all.join("\n"), @r#"
        $A -> a
        ${A} -> a
        x$A-y -> xa-y
        $$A -> $A
        $${A} -> ${A}
        $ -> $
        $1 -> $1
        a$ -> a$
        $U ->  (unset: U)
        ${U} ->  (unset: U)
        ${U:-d} -> d
        ${U-d} -> d
        ${E:-d} -> d
        ${E-d} -> 
        ${A:-d} -> a
        ${U:?no} -> error: the variable U is not set: no
        ${U?no} -> error: the variable U is not set: no
        ${E:?no} -> error: the variable E is empty: no
        ${E?no} -> 
        ${U:?} -> error: the variable U is not set
        ${A:?no} -> a
        ${A:+r} -> r
        ${A+r} -> r
        ${E:+r} -> 
        ${E+r} -> r
        ${U:+r} -> 
        ${U+r} -> 
        ${U:-${A}} -> a
        ${U:-${V:-${A}b}c}d -> abcd
        ${U:-{"x":{"y":1}}} -> {"x":{"y":1}}
        ${A}/${N} -> a/A
        ${U:-a:-b} -> a:-b
        ${U:-$$} -> $
        ${U:?${A} is wanted} -> error: the variable U is not set: a is wanted
        ${} -> error: `${}` is not a valid variable
        ${1} -> error: `${1}` is not a valid variable
        ${A -> error: `${A` is not a valid variable
        ${A!} -> error: `${A!}` is not a valid variable
        ${A:} -> error: `${A:}` is not a valid variable
        ${U:-} ->
        "#);
    }

    #[test]
    fn variables_nest_so_deep_and_no_deeper() {
        let nested =
            |begin: &str, times: usize| (0..times).fold("x".to_owned(), |inner, _| format!("{begin}{inner}}}"));
        let refused = format!("error: variables nest more than {MAX_NESTING} deep");
        for begin in ["${U:-", "${A:+"] {
            assert_eq!(run(&nested(begin, MAX_NESTING)), "x");
            assert_eq!(run(&nested(begin, MAX_NESTING + 1)), refused);
        }
        assert_eq!(run(&nested("${U:?", MAX_NESTING + 1)), refused);
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in any::<String>(), more in "[${}:?+A-Za-z_-]{0,40}") {
            let _ = run(&text);
            let _ = run(&more);
        }

        #[test]
        fn text_without_a_dollar_stays(text in "[^$]*") {
            prop_assert_eq!(run(&text), text);
        }

        #[test]
        fn doubled_dollars_come_back(text in any::<String>()) {
            prop_assert_eq!(run(&text.replace('$', "$$")), text);
        }

        #[test]
        fn the_three_spellings_of_a_variable_agree(name in "[A-Za-z_][A-Za-z0-9_]{0,8}", value in "[a-z]{1,8}") {
            let lookup = |asked: &str| (asked == name).then(|| value.clone());
            for form in [format!("${name}"), format!("${{{name}}}"), format!("${{{name}:-other}}"), format!("${{{name}:?other}}")] {
                prop_assert_eq!(interpolate(&form, &lookup, &mut Vec::new()), Ok(value.clone()));
            }
        }

        #[test]
        fn a_default_stands_in_for_what_is_not_set(word in "[a-z ]{0,8}") {
            prop_assert_eq!(interpolate(&format!("${{X:-{word}}}"), &|_| None, &mut Vec::new()), Ok(word));
        }
    }
}
