//! Where each mutant is in the syntax of a file, and what it takes to have both in one text.

use crate::chain::{self, Link};
use crate::list::{Mutant, Place};
use proc_macro2::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Text that is added where there was none: the start of a body, a guard.
    Insert,
    /// A guard that there is; the text is `true` or `false`.
    Guard,
    /// An expression; the text is that of the whole expression with the change.
    Expression,
}

/// A part of a file that has mutants, each with its text. `{on}` in an inserted one is the question whether it is on.
#[derive(Clone, Debug)]
pub struct Node {
    pub range: Range<usize>,
    pub kind: Kind,
    pub mutants: Vec<(u32, String)>,
}

/// Why a mutant has no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The compiler refuses it, as it would without the switch.
    DoesNotCompile(String),
    /// It may compile, but not as one of two.
    NotTried(String),
}

pub struct Found {
    pub nodes: Vec<Node>,
    pub left_out: BTreeMap<u32, Reason>,
}

/// The places of these mutants of one file.
pub fn find(source: &str, mutants: &[&Mutant]) -> syn::Result<Found> {
    let file = syn::parse_file(source)?;
    let mut finder = Finder { source, mutants, ..Finder::default() };
    finder.visit_file(&file);
    let Finder { nodes, seen, mut left_out, .. } = finder;
    for mutant in mutants.iter().filter(|mutant| !seen.contains(&mutant.id)) {
        left_out.insert(mutant.id, Reason::NotTried("its place was not found".into()));
    }
    Ok(Found { nodes, left_out })
}

#[derive(Default)]
struct Finder<'a> {
    source: &'a str,
    mutants: &'a [&'a Mutant],
    nodes: Vec<Node>,
    seen: BTreeSet<u32>,
    left_out: BTreeMap<u32, Reason>,
    /// The innermost place where a call at run time is impossible, "" where it is possible.
    constant: Vec<&'static str>,
    /// The binary operators around an operand of theirs, the outermost first.
    chain: Vec<Link>,
}

fn start(span: Span) -> Place {
    (span.start().line, span.start().column + 1)
}

fn end(span: Span) -> Place {
    (span.end().line, span.end().column + 1)
}

impl Finder<'_> {
    /// The mutants that this is the place of; none where they cannot be switched.
    fn take(&mut self, is: impl Fn(&Mutant) -> bool) -> Vec<Mutant> {
        let found: Vec<Mutant> =
            self.mutants.iter().filter(|mutant| is(mutant)).map(|mutant| (*mutant).clone()).collect();
        self.seen.extend(found.iter().map(|mutant| mutant.id));
        match self.constant.last() {
            Some(why) if !why.is_empty() => {
                self.leave(&found, &Reason::NotTried(format!("{why}: evaluated by the compiler")));
                Vec::new()
            }
            _ => found,
        }
    }

    fn take_span(&mut self, genre: &str, span: Span) -> Vec<Mutant> {
        let (start, end) = (start(span), end(span));
        self.take(|mutant| mutant.genre == genre && mutant.start == start && mutant.end == end)
    }

    fn leave(&mut self, mutants: &[Mutant], why: &Reason) {
        self.left_out.extend(mutants.iter().map(|mutant| (mutant.id, why.clone())));
    }

    fn push(&mut self, range: Range<usize>, kind: Kind, mutants: Vec<(u32, String)>) {
        if mutants.is_empty() {
            return;
        }
        match self.nodes.iter_mut().find(|node| node.range == range && node.kind == kind) {
            Some(node) => node.mutants.extend(mutants),
            None => self.nodes.push(Node { range, kind, mutants }),
        }
    }

    /// The text of `range` with `edit` replaced.
    fn edited(&self, range: &Range<usize>, edit: Range<usize>, by: &str) -> String {
        format!("{}{by}{}", &self.source[range.start..edit.start], &self.source[edit.end..range.end])
    }

    fn inside(&mut self, constant: &'static str, look: impl FnOnce(&mut Self)) {
        self.constant.push(constant);
        look(self);
        self.constant.pop();
    }

    /// A body that returns something else at once.
    fn body(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (Some(first), Some(last)) = (block.stmts.first(), block.stmts.last()) else { return };
        let (first, last) = (first.span(), last.span());
        let (inner, outer) =
            ((start(first), end(last)), (end(block.brace_token.span.open()), start(block.brace_token.span.close())));
        // cargo-mutants counts comments around the statements in or not
        let found = self.take(|mutant| {
            mutant.genre == "FnValue"
                && (outer.0..=inner.0).contains(&mutant.start)
                && (inner.1..=outer.1).contains(&mutant.end)
        });
        if chain::returns_impl(&signature.output) {
            self.leave(&found, &Reason::NotTried("the function returns `impl Trait`, which is one type".into()));
            return;
        }
        let at = first.byte_range().start;
        for mutant in found {
            let value = if mutant.replacement == "()" { "" } else { &mutant.replacement };
            self.push(at..at, Kind::Insert, vec![(mutant.id, format!("if {{on}} {{ return {value}; }} "))]);
        }
    }

    fn function(&mut self, signature: &syn::Signature, block: Option<&syn::Block>, look: impl FnOnce(&mut Self)) {
        self.inside(if signature.constness.is_some() { "const fn" } else { "" }, |finder| {
            if let Some(block) = block {
                finder.body(signature, block);
            }
            look(finder);
        });
    }

    fn operand(&mut self, operand: &syn::Expr, chain: &[Link], link: Link) {
        if matches!(operand, syn::Expr::Binary(_)) {
            self.chain = chain.iter().cloned().chain([link]).collect();
        }
        self.visit_expr(operand);
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, Some(&item.block), |finder| visit::visit_item_fn(finder, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, Some(&item.block), |finder| visit::visit_impl_item_fn(finder, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, item.default.as_ref(), |finder| visit::visit_trait_item_fn(finder, item));
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.inside("constant", |finder| visit::visit_item_const(finder, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.inside("constant", |finder| visit::visit_impl_item_const(finder, item));
    }

    fn visit_trait_item_const(&mut self, item: &'ast syn::TraitItemConst) {
        self.inside("constant", |finder| visit::visit_trait_item_const(finder, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.inside("static", |finder| visit::visit_item_static(finder, item));
    }

    fn visit_type_array(&mut self, item: &'ast syn::TypeArray) {
        self.inside("length of an array", |finder| visit::visit_type_array(finder, item));
    }

    fn visit_expr_repeat(&mut self, item: &'ast syn::ExprRepeat) {
        self.visit_expr(&item.expr);
        self.inside("length of an array", |finder| finder.visit_expr(&item.len));
    }

    fn visit_expr_const(&mut self, item: &'ast syn::ExprConst) {
        self.inside("const block", |finder| visit::visit_expr_const(finder, item));
    }

    fn visit_variant(&mut self, item: &'ast syn::Variant) {
        self.inside("discriminant", |finder| visit::visit_variant(finder, item));
    }

    fn visit_pat(&mut self, item: &'ast syn::Pat) {
        self.inside("pattern", |finder| visit::visit_pat(finder, item));
    }

    fn visit_expr_closure(&mut self, item: &'ast syn::ExprClosure) {
        // one in a constant is not run there
        self.inside("", |finder| visit::visit_expr_closure(finder, item));
    }

    fn visit_expr_binary(&mut self, item: &'ast syn::ExprBinary) {
        let chain = std::mem::take(&mut self.chain);
        let operator = item.op.span().byte_range();
        let own = item.left.span().byte_range().start..item.right.span().byte_range().end;
        let has_let =
            chain.last().is_some_and(|link| link.has_let) || chain::has_let(&item.left) || chain::has_let(&item.right);
        for mutant in self.take_span("BinaryOperator", item.op.span()) {
            if has_let && mutant.replacement == "||" {
                self.leave(&[mutant], &Reason::DoesNotCompile("`||` in a chain with `let`".into()));
                continue;
            }
            let range = chain::changed(&chain, &own, &mutant.replacement);
            let text = self.edited(range, operator.clone(), &mutant.replacement);
            // `a as u64 < b` begins the arguments of a type
            if syn::parse_str::<syn::Expr>(&text).is_err() {
                self.leave(&[mutant], &Reason::DoesNotCompile("not an expression".into()));
                continue;
            }
            self.push(range.clone(), Kind::Expression, vec![(mutant.id, text)]);
        }
        let strength = chain::strength(&self.source[operator]);
        let link = |left| Link { range: own.clone(), strength, left, has_let };
        self.operand(&item.left, &chain, link(true));
        self.operand(&item.right, &chain, link(false));
    }

    fn visit_expr_unary(&mut self, item: &'ast syn::ExprUnary) {
        let operator = item.op.span().byte_range();
        let range = operator.start..item.expr.span().byte_range().end;
        for mutant in self.take_span("UnaryOperator", item.op.span()) {
            let text = self.edited(&range, operator.clone(), &mutant.replacement);
            self.push(range.clone(), Kind::Expression, vec![(mutant.id, text)]);
        }
        visit::visit_expr_unary(self, item);
    }

    fn visit_arm(&mut self, item: &'ast syn::Arm) {
        let (whole, pattern, body) = (item.span(), item.pat.span(), item.body.span());
        let deleted = self.take(|mutant| {
            mutant.genre == "MatchArm"
                && [start(whole), start(pattern)].contains(&mutant.start)
                && mutant.end >= end(body)
                // with the comma, which may stand on a line of its own
                && mutant.end.0 <= end(whole).0 + 1
        });
        match &item.guard {
            None => {
                let at = pattern.byte_range().end;
                for mutant in deleted {
                    self.push(at..at, Kind::Insert, vec![(mutant.id, " if !{on} ".into())]);
                }
            }
            Some((_, guard)) => {
                let mut found = self.take_span("MatchArmGuard", guard.span());
                found.extend(deleted.into_iter().map(|mutant| Mutant { replacement: "false".into(), ..mutant }));
                if chain::has_let(guard) {
                    self.leave(&found, &Reason::NotTried("`let` in a guard".into()));
                } else {
                    let found = found.into_iter().map(|mutant| (mutant.id, mutant.replacement)).collect();
                    self.push(guard.span().byte_range(), Kind::Guard, found);
                }
            }
        }
        visit::visit_arm(self, item);
    }

    fn visit_expr_struct(&mut self, item: &'ast syn::ExprStruct) {
        let whole = item.span().byte_range();
        for pair in item.fields.pairs() {
            let field = pair.value().span();
            let found = self.take(|mutant| {
                mutant.genre == "StructField"
                    && mutant.start == start(field)
                    && mutant.end >= end(field)
                    && mutant.end.0 <= end(field).0 + 1
            });
            let range = field.byte_range();
            let range = range.start..pair.punct().map_or(range.end, |comma| comma.span().byte_range().end);
            for mutant in found {
                let text = self.edited(&whole, range.clone(), "");
                self.push(whole.clone(), Kind::Expression, vec![(mutant.id, text)]);
            }
        }
        visit::visit_expr_struct(self, item);
    }
}
