//! The text of a file with its mutants.

use crate::places::{Kind, Node};
use std::ops::Range;

/// A part of the written text that is there because of these mutants.
#[derive(Clone, Debug)]
pub struct Region {
    pub ids: Vec<u32>,
    pub range: Range<usize>,
    /// Whether it is what the mutant says, or what is around it.
    pub change: bool,
}

/// `source` with these nodes in place of what they cover, and where that is.
pub fn text(source: &str, mut nodes: Vec<Node>) -> (String, Vec<Region>) {
    // the outer before the inner, and what is added before what begins at the same byte
    nodes.sort_by_key(|node| {
        (node.range.start, node.kind != Kind::Insert, std::cmp::Reverse(node.range.end), node.kind)
    });
    let mut writer = Writer { source, nodes: &nodes, out: String::new(), regions: Vec::new() };
    writer.part(0..source.len(), 0);
    (writer.out, writer.regions)
}

struct Writer<'a> {
    source: &'a str,
    nodes: &'a [Node],
    out: String,
    regions: Vec<Region>,
}

impl Writer<'_> {
    /// What `range` has, with the nodes from `next` on.
    fn part(&mut self, range: Range<usize>, mut next: usize) {
        let nodes = self.nodes;
        let mut at = range.start;
        while let Some(node) = nodes.get(next).filter(|node| node.range.start < range.end) {
            assert!(node.range.start >= at && node.range.end <= range.end, "{node:?} reaches beyond {range:?}");
            self.out.push_str(&self.source[at..node.range.start]);
            at = node.range.end;
            let begin = self.out.len();
            self.node(node, next + 1);
            let ids = node.mutants.iter().map(|(id, _)| *id).collect();
            self.regions.push(Region { ids, range: begin..self.out.len(), change: false });
            next += 1;
            while nodes.get(next).is_some_and(|inner| inner.range.start < at) {
                next += 1;
            }
        }
        self.out.push_str(&self.source[at..range.end]);
    }

    /// Only one mutant is on at a time, so that inside of its text there are no others.
    fn node(&mut self, node: &Node, inner: usize) {
        match node.kind {
            Kind::Insert => {
                for (id, text) in &node.mutants {
                    self.change(*id, &text.replace("{on}", &on(*id)));
                }
            }
            Kind::Guard => {
                let (yes, no): (Vec<_>, Vec<_>) = node.mutants.iter().partition(|(_, text)| text == "true");
                for (id, _) in no {
                    self.out.push_str(&format!("!{} && ", on(*id)));
                }
                self.out.push('(');
                for (id, _) in yes {
                    self.out.push_str(&format!("{} || ", on(*id)));
                }
                self.out.push('(');
                self.part(node.range.clone(), inner);
                self.out.push_str("))");
            }
            Kind::Expression => {
                self.out.push('(');
                for (id, text) in &node.mutants {
                    self.out.push_str(&format!("if {} {{ (", on(*id)));
                    self.change(*id, text);
                    self.out.push_str(") } else ");
                }
                self.out.push_str("{ (");
                self.part(node.range.clone(), inner);
                self.out.push_str(") })");
            }
        }
    }

    fn change(&mut self, id: u32, text: &str) {
        let begin = self.out.len();
        self.out.push_str(text);
        self.regions.push(Region { ids: vec![id], range: begin..self.out.len(), change: true });
    }
}

/// The question whether a mutant is on: `switch.rs` is in each crate under this name.
fn on(id: u32) -> String {
    format!("crate::__mutant::on({id})")
}

#[cfg(test)]
mod tests {
    use crate::list::Mutant;
    use crate::places::{self, Reason};

    /// What the body of a function becomes with one operator replaced, the `at`th from 0 of those with this text.
    fn replaced(body: &str, operator: &str, at: usize, by: &str) -> Result<String, Reason> {
        let source = format!("fn f() {{ {body} }}");
        let column = source.match_indices(operator).nth(at).unwrap().0 + 1;
        let mutant = Mutant {
            id: 7,
            name: String::new(),
            package: String::new(),
            file: String::new(),
            genre: "BinaryOperator".into(),
            start: (1, column),
            end: (1, column + operator.len()),
            replacement: by.into(),
        };
        let mut found = places::find(&source, &[&mutant]).unwrap();
        if let Some(reason) = found.left_out.remove(&7) {
            return Err(reason);
        }
        let text = super::text(&source, found.nodes).0;
        syn::parse_file(&text).unwrap();
        Ok(text["fn f() { ".len()..text.len() - 2].replace("crate::__mutant::on(7)", "ON"))
    }

    #[test]
    fn an_operator_changes_what_it_groups() {
        assert_eq!(replaced("a && b", "&&", 0, "||").unwrap(), "(if ON { (a || b) } else { (a && b) })");
        assert_eq!(replaced("a && b && c", "&&", 0, "||").unwrap(), "(if ON { (a || b && c) } else { (a && b && c) })");
        assert_eq!(replaced("a * b == c", "*", 0, "+").unwrap(), "(if ON { (a + b) } else { (a * b) }) == c");
        assert_eq!(replaced("a + b * c", "*", 0, "-").unwrap(), "(if ON { (a + b - c) } else { (a + b * c) })");
        assert_eq!(replaced("(a && b) && c", "&&", 0, "||").unwrap(), "((if ON { (a || b) } else { (a && b) })) && c");
    }

    #[test]
    fn what_would_begin_the_arguments_of_a_type_is_not_written() {
        let refused = Err(Reason::DoesNotCompile("not an expression".into()));
        assert_eq!(replaced("a as u64 > b", ">", 0, "<"), refused);
        assert!(replaced("(a as u64) > b", ">", 0, "<").is_ok());
        assert!(replaced("a as u64 > b", ">", 0, "==").is_ok());
    }

    #[test]
    fn a_let_in_a_chain_takes_no_or() {
        let refused = Err(Reason::DoesNotCompile("`||` in a chain with `let`".into()));
        for at in 0..2 {
            assert_eq!(replaced("if a && b && let Some(c) = d {}", "&&", at, "||"), refused);
        }
        assert!(replaced("if (a && b) && let Some(c) = d {}", "&&", 0, "||").is_ok());
        assert!(replaced("if a == b && let Some(c) = d {}", "==", 0, "!=").is_ok());
    }
}
